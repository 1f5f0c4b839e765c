"""Time a training step of clip-to-seg against the same student without distillation, and a student against its plain twin.

    python benchmarks/speed/clip_to_seg.py --size 512

SegFormer-B0 with random weights, 156 classes with masks, a space of 512 dimensions, two images as on one of the paper's
devices. What the teacher says lies in the batch, as it does when its features are cached.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from timing import compare, print_rows, write_json
from torch.nn.functional import normalize
from transformers import SegformerConfig

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.partial_labels.distillation_batches import DistillationBatch
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.clip_to_seg.distillation import Distillation
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.methods.clip_to_seg.settings import ClipToSegSettings
from lexiseg.models.backbones import build_backbone
from lexiseg.models.dense_student import DenseStudent, StudentSettings

SEEN, UNSEEN, WIDTH, PATCH = 156, 15, 512, 16
METHODS = {
    "masks of seen classes alone": ClipToSegSettings(global_weight=0.0, local="none", masks="none"),
    "distilled, features cached": ClipToSegSettings(local="pooled"),
}


def make_batch(images: int, size: int) -> tuple[DistillationBatch, torch.Tensor]:
    """Make images of blocks of classes, a fifth without masks, and what a teacher would say of them."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(SEEN + UNSEEN, (images, 4, 4), generator=generator)
    classes[:, 0] = torch.randint(SEEN, SEEN + UNSEEN, (images, 4), generator=generator)
    directions = normalize(torch.randn(SEEN + UNSEEN, WIDTH, generator=generator), dim=1)
    side = size // PATCH
    cells = classes.repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    maps = directions[cells] + 0.5 * torch.randn(*cells.shape, WIDTH, generator=generator) / WIDTH**0.5
    labels = cells.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    batch = DistillationBatch(
        images=torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8, generator=generator),
        sources=("random",) * images,
        label_maps=labels.masked_fill(labels >= SEEN, IGNORE_INDEX),
        teacher_maps=maps.permute(0, 3, 1, 2).contiguous(),
        teacher_vectors=maps.mean(dim=(1, 2)),
    )
    return batch, directions[:SEEN]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    batch, texts = make_batch(given.images, given.size)

    def student(outputs: int) -> DenseStudent:
        return DenseStudent(build_backbone(SegformerConfig().to_dict()), outputs, StudentSettings())

    def step_of(method: ClipToSegSettings) -> Callable[[], None]:
        model = ClipToSeg(
            student(WIDTH),
            lambda: lambda names, prompts: texts[: len(names)],
            [f"class {label}" for label in range(SEEN)],
            method=method,
            settings=InferenceSettings(),
            distillation=Distillation(texts, SEEN, method),
        ).train()

        def step() -> None:
            model.zero_grad()
            model(batch).total().backward()

        return step

    steps = {name: step_of(method) for name, method in METHODS.items()}
    rows = compare(steps, given.repeats, images=f"{given.images} of {given.size}x{given.size}")
    print_rows(rows, "A training step: forward and backward")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "transformers"])


if __name__ == "__main__":
    main()
