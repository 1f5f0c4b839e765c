"""Time a distilled student in torch and as exported graphs: float32 and 8 bits, in one run.

Run from the repository root, with the extras ``export`` and ``mini``::

    python benchmarks/speed/exported_graphs.py

The network is what ``lexiseg distil`` trains: EfficientNet-Lite0 with ImageNet's weights under the head of CLIP-to-Seg, with
random numbers here, 384 dimensions, on the photographs of ``examples/``. One thread, the processor's time, so that other
work on the machine counts little; functions take turns. Labels are compared among 20 random class embeddings.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from timing import print_rows, write_json
from torch.nn.functional import normalize

from lexiseg.data.images import load_image
from lexiseg.data.transforms import resize_image
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.methods.clip_to_seg.settings import ClipToSegSettings
from lexiseg.models.backbones import load_efficientnet_pyramid
from lexiseg.models.dense_student import DenseStudent, StudentSettings
from lexiseg.models.graph_encoder import GraphEncoder
from lexiseg.ops.similarity import similarity_map
from lexiseg.runs.graph_model import write_graph

SIDE, THREADS, REPEATS, CLASSES, DIMENSIONS = 448, 1, 5, 20, 384
PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "examples/photographs").glob("*.jpg"))


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    student = DenseStudent(load_efficientnet_pyramid(), DIMENSIONS, StudentSettings())
    model = ClipToSeg(
        student,
        lambda: lambda names, prompts: torch.zeros(len(names), DIMENSIONS),
        (),
        method=ClipToSegSettings(),
        settings=InferenceSettings(short_side=SIDE),
        name="student",
    )
    model = model.eval().requires_grad_(False)
    words = torch.cat([normalize(torch.randn(CLASSES, DIMENSIONS), dim=1), torch.zeros(CLASSES, 1)], dim=1)
    images = [resize_image(load_image(path), (SIDE, SIDE))[None] for path in PHOTOGRAPHS]
    with tempfile.TemporaryDirectory() as folder:
        networks = {"torch": model.encode_images}
        for name, calibration in (("onnxruntime", ()), ("onnxruntime, 8 bits", PHOTOGRAPHS)):
            path = Path(folder) / f"{len(networks)}.onnx"
            how = {"form": "onnx", "words": None, "bake": False, "parts": ()}
            write_graph(model, path, calibration=calibration, **how)
            networks[name] = GraphEncoder(path)
            print(f"{name}: {path.stat().st_size / 1e6:.1f} MB")
        rows = time_in_turns(networks, images)
        with torch.inference_mode():
            labels = {
                name: [
                    similarity_map((found := encode(image)).tokens, words, found.grid).argmax(1)
                    for image in images
                ]
                for name, encode in networks.items()
            }
    for row in rows:
        pairs = zip(labels[row["function"]], labels["torch"], strict=True)
        row["equal_labels"] = round(statistics.mean(float((a == b).float().mean()) for a, b in pairs), 5)
    print_rows(rows, "one image of 448×448")
    packages = ("torch", "onnx", "onnxruntime", "numpy")
    write_json(Path(__file__).with_suffix(".json"), rows, packages, threads=THREADS, clock="processor time")


def time_in_turns(networks: dict, images: list[torch.Tensor]) -> list[dict]:
    """Time each network on all images, by turns; return milliseconds an image and the ratio to torch."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for turn in range(REPEATS + 1):
            for name, encode in networks.items():
                start = time.process_time()
                for image in images:
                    encode(image)
                if turn:  # the first fills caches
                    times[name].append((time.process_time() - start) / len(images))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return [
        {
            "function": name,
            "median_ms": round(1000 * median, 1),
            "fastest_ms": round(1000 * min(times[name]), 1),
            "ratio": round(median / medians["torch"], 3),
        }
        for name, median in medians.items()
    ]


if __name__ == "__main__":
    main()
