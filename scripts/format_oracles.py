"""Let the tools whose formats Lexiseg writes read what it wrote, each in an environment of its own.

    python scripts/format_oracles.py datumaro --venv /somewhere/datumaro

Makes the environment if it is not there (pip install), writes label maps for the photographs in examples/photographs in the
tool's formats, lets the tool's own reader make label maps of them, and compares: the share of pixels that are equal, and the
least IoU of a class. Exit code 1 where a reader fails or an IoU is below 0.99. The tools conflict with one another or with
Lexiseg's constraints, so none of them is a dependency.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

ROOT = Path(__file__).parents[1]
NAMES = ("dark", "grey", "light", "round")
LEAST_IOU = 0.99
#: What a reader script leaves: label maps by stem, 65535 where nothing was read.
READ = "read.npz"

#: Code that runs inside the tool's environment: FOLDER is where our files are. It leaves ``READ``.
_HEAD = """
import sys, json, numpy as np
from pathlib import Path
folder, names = Path(sys.argv[1]), json.loads(sys.argv[2])
maps = {}
def fill(points, size):
    # pixels whose centre is inside, by the even-odd rule
    height, width = size
    first = np.asarray(points, float).reshape(-1, 2)
    crossings = np.zeros((height, width + 1), int)
    for (x0, y0), (x1, y1) in zip(first, np.roll(first, -1, 0)):
        if y0 == y1:
            continue
        low, high = sorted((y0, y1))
        rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5))))
        across = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        np.add.at(crossings, (rows, np.clip(np.ceil(across - 0.5), 0, width).astype(int)), 1)
    return np.cumsum(crossings, 1)[:, :width] % 2 == 1
def paint(stem, size, label, mask):
    maps.setdefault(stem, np.full(size, 65535, np.uint16))[np.asarray(mask, bool)] = label
"""
_TAIL = "\nnp.savez(folder / 'read.npz', **maps)\n"

_DATUMARO = """
from datumaro.components.dataset import Dataset
kind = sys.argv[3]
data = Dataset.import_from(str(folder / "data"), kind)
categories = next(value for key, value in data.categories().items() if key.name == "label")
titles = dict(enumerate(item.name for item in categories.items))
for item in data:
    size = tuple(item.media.size) if item.media is not None and item.media.size else None
    ordered = sorted(item.annotations, key=lambda one: getattr(one, "z_order", 0))
    for each in ordered:
        name = titles.get(each.label)
        if name not in names:
            continue
        if each.type.name == "mask":
            mask = np.asarray(each.image)
        elif each.type.name == "polygon":
            from pycocotools import mask as coco
            runs = coco.frPyObjects([list(each.points)], *size)
            mask = coco.decode(coco.merge(runs))
        else:
            continue
        paint(Path(item.id).name, mask.shape, names.index(name), mask)
"""
_LABELME = """
import labelme.utils
for file in sorted(folder.rglob("*.json")):
    content = json.loads(file.read_text())
    size = (content["imageHeight"], content["imageWidth"])
    for each in content["shapes"]:
        mask = labelme.utils.shape_to_mask(size, each["points"], shape_type=each["shape_type"])
        if each["label"] in names:
            paint(file.stem, size, names.index(each["label"]), mask)
"""
_BRUSHES = """
from label_studio_sdk.converter import brush
for task in json.loads(next(folder.rglob("*.json")).read_text()):
    stem = Path(task["data"]["image"]).stem
    for result in task["predictions"][0]["result"]:
        size = (result["original_height"], result["original_width"])
        mask = brush.decode_rle(result["value"]["rle"]).reshape(*size, 4)[..., 3] > 127
        paint(stem, size, names.index(result["value"]["brushlabels"][0]), mask)
"""
#: Predictions as if a person had accepted them, made COCO by the tool's own converter; its polygons are filled here.
_POLYGONS = """
from label_studio_sdk.converter import Converter
file = next(folder.rglob("*.json"))
tasks = json.loads(file.read_text())
for number, task in enumerate(tasks, 1):
    task |= {"id": number, "annotations": [{**task.pop("predictions")[0], "id": number}]}
    task["data"]["image"] = str(next(folder.rglob(task["data"]["image"])))
accepted = folder / "accepted.json"
accepted.write_text(json.dumps(tasks))
labels = "".join(f'<Label value="{name}"/>' for name in names)
config = f'<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image">{labels}</PolygonLabels></View>'
Converter(config, str(folder)).convert_to_coco(str(accepted), str(folder / "coco"), is_dir=False)
made = json.loads((folder / "coco/result.json").read_text())
stems = {image["id"]: (Path(image["file_name"]).stem, (image["height"], image["width"])) for image in made["images"]}
titles = {each["id"]: each["name"] for each in made["categories"]}
for each in made["annotations"]:
    stem, size = stems[each["image_id"]]
    paint(stem, size, names.index(titles[each["category_id"]]), fill(each["segmentation"][0], size))
"""
_CVAT = """
import xml.etree.ElementTree as tree
from cvat_sdk.masks import encode_mask
root = tree.parse(next(folder.rglob("*.xml"))).getroot()
for image in root.iter("image"):
    size = (int(image.get("height")), int(image.get("width")))
    stem = Path(image.get("name")).stem
    for each in sorted(image.iter("mask"), key=lambda one: int(one.get("z_order", 0))):
        counts = [int(count) for count in each.get("rle").split(",")]
        left, top, width, height = (int(float(each.get(name))) for name in ("left", "top", "width", "height"))
        box = np.repeat(np.arange(len(counts)) % 2, counts).reshape(height, width).astype(bool)
        mask = np.zeros(size, bool)
        mask[top : top + height, left : left + width] = box
        # CVAT's own encoding of the same mask: counts of the box, then its corners.
        *again, x1, y1, x2, y2 = [int(number) for number in encode_mask(mask)]
        own = [*counts, left, top, left + width - 1, top + height - 1]
        assert [*again, x1, y1, x2, y2] == own, (stem, "encode_mask differs")
        paint(stem, size, names.index(each.get("label")), mask)
"""

#: What is installed, and for each of our formats the reader and its further arguments.
ORACLES: dict[str, tuple[list[str], dict[str, tuple[str, str]]]] = {
    "datumaro": (
        ["datumaro"],
        {
            "coco": (_DATUMARO, "coco"),
            "voc": (_DATUMARO, "voc_segmentation"),
            "cvat": (_DATUMARO, "cvat"),
            "cvat-masks": (_DATUMARO, "cvat"),
        },
    ),
    "labelme": (["labelme"], {"labelme": (_LABELME, "")}),
    "label-studio-sdk": (
        ["label-studio-sdk"],
        {"label-studio-brush": (_BRUSHES, ""), "label-studio": (_POLYGONS, "")},
    ),
    "cvat-sdk": (["cvat-sdk[masks]"], {"cvat-masks": (_CVAT, "")}),
}


#: Where a tool expects images and annotations, where that is not beside one another.
_IMAGES = {"coco": "images/default", "cvat": "images", "cvat-masks": "images"}
_FILES = {
    "coco": "annotations/instances_default.json",
    "cvat": "annotations.xml",
    "cvat-masks": "annotations.xml",
}


def label_maps() -> dict[str, tuple[Path, np.ndarray]]:
    """Make a label map of each photograph: three brightnesses, which has holes and islands, and a disc."""
    found = {}
    for path in sorted((ROOT / "examples/photographs").glob("*.jpg")):
        image = Image.open(path).convert("L")
        image.thumbnail((480, 480))
        grey = np.asarray(image.filter(ImageFilter.GaussianBlur(4)), np.float32)
        labels = np.digitize(grey, np.quantile(grey, (0.33, 0.66))).astype(np.uint16)
        rows, columns = np.indices(labels.shape)
        centre, radius = (labels.shape[0] // 2, labels.shape[1] // 2), min(labels.shape) // 5
        labels[np.hypot(rows - centre[0], columns - centre[1]) < radius] = 3
        found[path.stem] = (path, labels)
    return found


def write_files(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Write the photographs with their label maps in one of our formats; return the label maps."""
    from lexiseg.data.formats.annotations import LabelledImage
    from lexiseg.data.formats.coco import CocoCategories
    from lexiseg.data.formats.known_formats import known_format

    chosen, maps = known_format(name), label_maps()
    images = []
    place = folder / "data" / _IMAGES.get(name, "photographs")
    place.mkdir(parents=True)
    for number, (stem, (path, labels)) in enumerate(maps.items(), 1):
        photograph = place / f"{stem}.png"
        Image.open(path).convert("RGB").resize(labels.shape[::-1]).save(photograph)
        images.append(
            LabelledImage(stem=stem, id=number, file_name=f"{stem}.png", label_map=labels, source=photograph)
        )
    file = _FILES.get(name, f"labels{chosen.suffix}" if chosen.suffix else "")
    out = folder / "data" / file
    out.parent.mkdir(parents=True, exist_ok=True)
    chosen.write(images, CocoCategories(names=NAMES, ids=tuple(range(1, len(NAMES) + 1))), out)
    return {stem: labels for stem, (_, labels) in maps.items()}


def compare(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return the share of equal pixels, and the least IoU of a class over all images."""
    if set(expected) != set(found):
        raise ValueError(f"images {sorted(found)} instead of {sorted(expected)}")
    true = np.concatenate([expected[stem].ravel() for stem in sorted(expected)])
    read = np.concatenate([found[stem].ravel() for stem in sorted(expected)])
    ious = [((true == k) & (read == k)).sum() / ((true == k) | (read == k)).sum() for k in range(len(NAMES))]
    return float((true == read).mean()), float(min(ious))


def make_oracle(tool: str, place: Path, packages: list[str]) -> Path:
    """Make the tool's environment if it is not there; return its Python."""
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


def main() -> int:
    """Try a tool; print a line a format, and JSON with the versions in the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=ORACLES)
    parser.add_argument(
        "--venv", type=Path, required=True, help="the tool's environment; made if it is not there"
    )
    given = parser.parse_args()
    packages, formats = ORACLES[given.tool]
    python = make_oracle(given.tool, given.venv, packages)
    version = subprocess.check_output(
        [python, "-c", f"from importlib.metadata import version; print(version({given.tool!r}))"], text=True
    ).strip()
    results: dict[str, dict[str, object]] = {}
    for name, (reader, kind) in formats.items():
        with tempfile.TemporaryDirectory() as folder:
            expected = write_files(name, Path(folder))
            done = subprocess.run(
                [python, "-c", _HEAD + reader + _TAIL, folder, json.dumps(NAMES), kind],
                capture_output=True,
                text=True,
            )
            try:
                if done.returncode:
                    raise ValueError(done.stderr.strip().splitlines()[-1])
                with np.load(Path(folder) / READ) as arrays:
                    equal, iou = compare(expected, dict(arrays))
            except (ValueError, OSError) as error:
                results[name] = {"error": str(error)}
                print(f"{given.tool} {version}, {name}: {error}")
                continue
        results[name] = {"equal": equal, "least_iou": iou}
        print(f"{given.tool} {version}, {name}: {100 * equal:.3f} % of pixels, least IoU {iou:.4f}")
    print(json.dumps({"tool": given.tool, "version": version, "formats": results}))
    worst = [float(each.get("least_iou", 0)) for each in results.values()]  # type: ignore[arg-type]
    return int(min(worst) < LEAST_IOU)


if __name__ == "__main__":
    sys.exit(main())
