"""Time and memory of a training step: Basic, Self-Pair, Cross-Pair.

The published network (ResNet-50, width 256, 100 queries, 6 layers) with random weights, so that nothing is
downloaded, on the published size of crops. The cost of pairs depends on J alone: their share falls with the crop.

    python benchmarks/speed/simformer.py --device cpu --size 512
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from timing import compare, print_rows, write_json
from transformers import ResNetConfig

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.settings import InferenceSettings
from lexiseg.layers.simnet import SimNet
from lexiseg.methods.simformer.model import SimFormer
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.backbones import build_backbone
from lexiseg.models.maskformer import MaskFormer, MaskFormerSettings

#: The published number of sampled points.
POINTS = 100


def make_batch(images: int, size: int, classes: int) -> Batch:
    torch.manual_seed(0)
    label_maps = torch.randint(0, classes // 2, (images, 4, 4)).repeat_interleave(size // 4, 1)
    label_maps = label_maps.repeat_interleave(size // 4, 2)
    label_maps[:, :, : size // 3] = IGNORE_INDEX
    tags = torch.zeros(images, classes, dtype=torch.bool)
    tags[:, classes - 1] = True
    pixels = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8)
    return Batch(images=pixels, sources=("random",) * images, label_maps=label_maps, tags=tags)


def kept_for_gradient(points: int) -> int:
    """Bytes that SimNet keeps for its gradient, of one pair of images in both orders."""
    sizes: dict[int, int] = {}

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    simnet, embeddings = SimNet(), torch.randn(2, points, 256)
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        answers = simnet(embeddings, embeddings.flip(0))
    assert answers.requires_grad
    return sum(sizes.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--points", type=int, nargs="+", default=[POINTS], help="to time")
    given = parser.parse_args()
    names = tuple(f"class {index}" for index in range(150))
    vocabulary = Vocabulary(names=names, seen=frozenset(range(112)))
    batch = make_batch(given.images, given.size, len(names)).to(given.device)
    cells = [("none", POINTS), *((pairs, points) for pairs in ("self", "cross") for points in given.points)]

    def step_of(pairs: str, points: int) -> Callable[[], None]:
        method = SimFormerSettings(pairs=pairs, num_points=points)
        backbone = build_backbone(ResNetConfig().to_dict())  # the 50 layers are its defaults
        network = MaskFormer(backbone, len(names), MaskFormerSettings())
        model = SimFormer(network, vocabulary, method=method, settings=InferenceSettings())
        model.to(given.device).train()

        def step() -> None:
            model.zero_grad()
            model(batch).total().backward()
            if batch.images.is_cuda:
                torch.cuda.synchronize()

        return step

    steps = {
        "Basic" if pairs == "none" else f"{pairs.capitalize()}-Pair, J = {points}": step_of(pairs, points)
        for pairs, points in cells
    }
    rows = compare(steps, given.repeats, images=f"{given.images} of {given.size}x{given.size}")
    print_rows(rows, "A training step: forward and backward")
    memory = [
        {"J": points, "MiB": round(kept / 2**20, 1), "bytes_by_J2": round(kept / points**2)}
        for points in (50, 100, 150)
        for kept in [kept_for_gradient(points)]
    ]
    print_rows(memory, "What SimNet keeps for the gradient, of a pair of images in both orders")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch"], device=given.device, memory=memory)


if __name__ == "__main__":
    main()
