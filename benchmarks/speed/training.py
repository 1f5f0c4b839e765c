"""Training: the engine's step against a bare loop, and the memory of large contrastive batches.

    python benchmarks/speed/training.py

Writes training.json beside it. The bare loop does the same forward and backward passes and the same update,
on the same batches, and nothing else.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from timing import compare, print_rows, write_json
from torch import Tensor, nn
from torch.nn import functional as F

from lexiseg.core.batch import Batch
from lexiseg.core.interfaces import ContrastiveTrainable
from lexiseg.core.loss_terms import LossTerms
from lexiseg.data.stepwise import StepwiseData
from lexiseg.engine.devices import Devices
from lexiseg.engine.log import RunLog
from lexiseg.engine.optim import build_optimizer
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.engine.training_state import TrainingState
from lexiseg.losses.contrastive import contrastive_loss
from lexiseg.ops.gather import gather_batch

OUT = Path(__file__).with_suffix(".json")
HERE = Devices(device=torch.device("cpu"))
OPTIM = OptimSettings(lr=1e-4, weight_decay=0.1, warmup_fraction=0.1)
SIDE = 32


class Pair(ContrastiveTrainable):
    """A small transformer over patches of 4 pixels, against one over letters."""

    def __init__(self, width: int = 192, depth: int = 3) -> None:
        super().__init__()
        block = {"nhead": 4, "dim_feedforward": 4 * width, "dropout": 0.0, "batch_first": True}
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.letters = nn.Embedding(128, width)
        self.image_blocks = nn.ModuleList([nn.TransformerEncoderLayer(width, **block) for _ in range(depth)])
        self.text_blocks = nn.ModuleList([nn.TransformerEncoderLayer(width, **block) for _ in range(depth)])
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def embed(self, batch: Batch) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Embed images and captions."""
        assert batch.captions is not None
        image = self.patches(batch.pixels()).flatten(2).transpose(1, 2)
        codes = torch.tensor(
            [[ord(letter) % 128 for letter in text[:16].ljust(16)] for text in batch.captions]
        )
        text = self.letters(codes)
        for blocks, half in ((self.image_blocks, "image"), (self.text_blocks, "text")):
            for block in blocks:
                if half == "image":
                    image = block(image)
                else:
                    text = block(text)
        return F.normalize(image.mean(1), dim=1), F.normalize(text.mean(1), dim=1)

    def contrast(self, images: Float[Tensor, "B D"], texts: Float[Tensor, "B D"]) -> LossTerms:
        """Compare."""
        return LossTerms(terms={"contrastive": contrastive_loss(images, texts, self.temperature)})

    def loss(self, batch: Batch) -> LossTerms:
        """Compare the batch."""
        images, texts = self.embed(batch)
        return self.contrast(gather_batch(images), gather_batch(texts))


def make_batch(step: int, start: int, stop: int) -> Batch:
    """Return noise."""
    generator = torch.Generator().manual_seed(step)
    shape = (stop - start, 3, SIDE, SIDE)
    return Batch(
        images=torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
        sources=tuple(f"row {row}" for row in range(start, stop)),
        captions=tuple(f"caption number {row}" for row in range(start, stop)),
    )


def compare_steps(batch_size: int, repeats: int) -> list[dict[str, Any]]:
    """Time a step of the engine, with its log line, against a bare one."""
    batch = make_batch(0, 0, batch_size)
    run = RunSettings(num_steps=10**6, batch_size=batch_size, log_every=1)
    torch.manual_seed(0)
    bare = Pair()
    optimizer = build_optimizer(bare.parameter_groups(), OPTIM)

    def bare_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        bare.loss(batch).total().backward()
        optimizer.step()

    torch.manual_seed(0)
    folder = tempfile.TemporaryDirectory()
    log = RunLog(Path(folder.name), 0)
    states = {
        "engine": TrainingState(Pair(), OPTIM, run, HERE),
        "engine, norm clipped, running mean": TrainingState(
            Pair(), dataclasses.replace(OPTIM, clip_norm=1.0, ema_decay=0.999), run, HERE
        ),
    }

    def engine_step(state: TrainingState) -> None:
        values = state.update(batch)
        log.step(values, values.check(), batch_size)

    functions = {"bare loop": bare_step}
    functions |= {name: (lambda state=state: engine_step(state)) for name, state in states.items()}
    rows = compare(functions, repeats, batch=batch_size)
    log.close()
    folder.cleanup()
    return rows


def peak_memory(batch_size: int, sub_batch_size: int) -> None:
    """Do one step in this process and print what its memory came to."""
    data = StepwiseData(make_batch, batch_size=batch_size, fingerprint="noise")
    run = RunSettings(num_steps=1, batch_size=batch_size, sub_batch_size=sub_batch_size)
    state = TrainingState(Pair(width=64, depth=2), OPTIM, run, HERE)
    for batch in data.batches(start_step=0, stop_step=1):
        state.update(batch).check()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    print(json.dumps({"peak_mb": round(peak, 1)}))


def memory_rows(cases: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Measure each case in a process of its own."""
    rows = []
    for batch_size, sub_batch_size in cases:
        command = [sys.executable, __file__, "--memory", str(batch_size), str(sub_batch_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"batch": batch_size, "sub_batch": sub_batch_size, **json.loads(done.stdout)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--memory", type=int, nargs=2, metavar=("BATCH", "SUB_BATCH"))
    arguments = parser.parse_args()
    if arguments.memory:
        peak_memory(*arguments.memory)
        return
    rows = compare_steps(4, arguments.repeats)
    print_rows(rows, "one step of training")
    memory = memory_rows([(1024, 128), (4096, 128), (1024, 1024)])
    print_rows(memory, "peak memory of contrastive batches")
    write_json(OUT, rows, ["torch", "numpy"], memory=memory)


if __name__ == "__main__":
    main()
