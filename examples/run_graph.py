"""Segment photographs with a graph that ``lexiseg export-model`` wrote: numpy, onnxruntime and pillow, no torch, no Lexiseg.

    pip install numpy onnxruntime pillow
    python run_graph.py model.onnx photo.jpg --out results
    python run_graph.py model.onnx photo.jpg --out results --words words.npz

The first form is for a graph with its names in it (``--names``, or a model with a list of its own); the second for one that
takes class embeddings, which ``lexiseg export-model --embeddings words.npz`` wrote. An image is seen whole: windows, tiles and
borders at the image's edges are Lexiseg's own (``lexiseg segment --model model.onnx``), so that labels differ along
borders, and more where the model's settings have windows. Results are palette PNGs and a line for every class.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

#: Pixels of scores that are resized at a time, in rows of the image: memory stays small with many classes.
BAND = 64


def main() -> int:
    """Segment every image; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the label maps")
    parser.add_argument("--words", type=Path, help="class embeddings, for a graph without names")
    given = parser.parse_args()
    session = onnxruntime.InferenceSession(given.graph, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    record = json.loads(metadata["segmenter"])
    takes_words = any(each.name == "embeddings" for each in session.get_inputs())
    if takes_words != (given.words is not None):
        print("this graph takes class embeddings: give --words" if takes_words else "this graph has its names in it: leave --words out", file=sys.stderr)  # noqa: E501  # fmt: skip
        return 2
    inputs = {}
    if given.words is not None:
        words = np.load(given.words, allow_pickle=False)
        inputs["embeddings"] = words["embeddings"]
        classes, owner = words["classes"].tolist(), words["owner"]
    else:
        classes, owner = record["classes"]["names"], np.array(owners(record))
    given.out.mkdir(parents=True, exist_ok=True)
    for path in given.images:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        seen = resized(image, record["settings"], int(metadata.get("multiple_of", metadata["stride"])))
        pixels = np.asarray(seen, np.float32).transpose(2, 0, 1)[None] / 255
        (scores,) = session.run(["scores"], {"images": pixels, **inputs})
        labels = winners(best_names(scores[0], owner, len(classes)), image.size)
        write(labels, given.out / f"{path.stem}.png")
        shares = np.bincount(labels.ravel(), minlength=len(classes)) / labels.size
        said = ", ".join(f"{classes[k]} {100 * shares[k]:.1f} %" for k in np.argsort(-shares) if shares[k])
        print(f"{path}: {said}")
    return 0


def owners(record: dict) -> list[int]:
    """Return the class of each of the graph's names."""
    place = {}
    for label, name in enumerate(record["classes"]["names"]):
        for each in (name, *(record["classes"]["synonyms"][label] if record["classes"]["synonyms"] else ())):
            place.setdefault(each, label)
    return [place[name] for name in record["names"]]


def resized(image: Image.Image, settings: dict, stride: int) -> Image.Image:
    """Resize an image to what the model sees: its short side as in the settings, both sides multiples of the stride."""
    width, height = image.size if settings["keep_aspect"] else (1, 1)
    scale = min(settings["short_side"] / min(width, height), settings["max_long_side"] / max(width, height))
    sides = [max(1, round(side * scale / stride)) * stride for side in (width, height)]
    return image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR)


def best_names(scores: np.ndarray, owner: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the best score of each class's names: ``K h w``."""
    best = np.full((num_classes, *scores.shape[1:]), -np.inf, np.float32)
    for row, label in enumerate(owner):
        np.maximum(best[label], scores[row], out=best[label])
    return best


def winners(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize scores to an image, bilinearly, and return the best class of each pixel."""
    width, height = size
    rows, columns = scores.shape[1:]
    left, right, across = weights(width, columns)
    upper, lower, down = weights(height, rows)
    wide = scores[:, :, left] * (1 - across) + scores[:, :, right] * across
    labels = np.empty((height, width), np.uint16)
    for start in range(0, height, BAND):
        band = slice(start, start + BAND)
        share = down[band, None]
        labels[band] = (wide[:, upper[band]] * (1 - share) + wide[:, lower[band]] * share).argmax(axis=0)
    return labels


def weights(wanted: int, given: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each of the wanted places, the two given ones it lies between, and how near it is to the second."""
    centre = np.clip((np.arange(wanted) + 0.5) * given / wanted - 0.5, 0, given - 1)
    first = np.floor(centre).astype(np.int64)
    return first, np.minimum(first + 1, given - 1), (centre - first).astype(np.float32)


def write(labels: np.ndarray, path: Path) -> None:
    """Write a label map: a coloured PNG up to 256 classes, else one of 16 bits."""
    if labels.max() > 255:
        Image.fromarray(labels).save(path)
        return
    picture = Image.fromarray(labels.astype(np.uint8))
    hues = (np.arange(256) * 0.618034) % 1
    colours = [
        Image.new("HSV", (1, 1), (int(255 * hue), 170, 220)).convert("RGB").getpixel((0, 0)) for hue in hues
    ]
    picture.putpalette([value for colour in colours for value in colour])
    picture.save(path)


if __name__ == "__main__":
    raise SystemExit(main())
