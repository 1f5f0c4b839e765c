"""Time and memory of a training step: Basic, Self-Pair, Cross-Pair.

The published network above the backbone (width 256, 100 queries, 6 layers) on a small backbone with random
weights, so that nothing is downloaded; a larger backbone makes the pairs' share smaller.

    python benchmarks/speed/simformer.py --device cpu --size 256 --points 50 100 150
"""

import argparse
import resource
import statistics
import time

import torch

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.settings import InferenceSettings
from lexiseg.layers.simnet import SimNet
from lexiseg.methods.simformer.model import SimFormer
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.backbones import TinyPyramid
from lexiseg.models.maskformer import MaskFormer, MaskFormerSettings


def make_batch(images: int, size: int, classes: int) -> Batch:
    torch.manual_seed(0)
    label_maps = torch.randint(0, classes // 2, (images, 4, 4)).repeat_interleave(size // 4, 1)
    label_maps = label_maps.repeat_interleave(size // 4, 2)
    label_maps[:, :, : size // 3] = IGNORE_INDEX
    tags = torch.zeros(images, classes, dtype=torch.bool)
    tags[:, classes - 1] = True
    pixels = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8)
    return Batch(images=pixels, sources=("random",) * images, label_maps=label_maps, tags=tags)


def seconds(model: SimFormer, batch: Batch, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model(batch).total().backward()
        if batch.images.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        model.zero_grad()
    return times[1:]


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
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, nargs="+", default=[50, 100, 150])
    given = parser.parse_args()
    names = tuple(f"class {index}" for index in range(150))
    vocabulary = Vocabulary(names=names, seen=frozenset(range(112)))
    batch = make_batch(given.images, given.size, len(names)).to(given.device)
    cells = [
        ("none", 100),
        *(("self", points) for points in given.points),
        *(("cross", points) for points in given.points),
    ]
    models = {}
    for pairs, points in cells:
        method = SimFormerSettings(pairs=pairs, num_points=points)
        network = MaskFormer(TinyPyramid(), len(names), MaskFormerSettings())
        model = SimFormer(network, vocabulary, method=method, settings=InferenceSettings())
        models[pairs, points] = model.to(given.device).train()
    # Interleaved, so that a busy machine slows all of them alike.
    times: dict[tuple[str, int], list[float]] = {cell: [] for cell in models}
    for _ in range(given.repeats):
        for cell, model in models.items():
            times[cell] += seconds(model, batch, 1)
    basic = statistics.median(times["none", 100])
    for (pairs, points), measured in times.items():
        median = statistics.median(measured)
        label = "Basic" if pairs == "none" else f"{pairs}, J = {points}"
        print(f"{label:16} {1000 * median:8.0f} ms a step   {median / basic:.2f} × Basic")
    for points in given.points:
        kept = kept_for_gradient(points)
        print(
            f"SimNet, J = {points:3}: {kept / 2**20:7.1f} MiB kept for the gradient, {kept / points**2:.0f} bytes × J²"
        )
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
