"""PASCAL VOC: JPEGImages/ and SegmentationClass/ with palette PNGs, as labelling tools export it.

Classes are in labelmap.txt (CVAT: name:r,g,b:parts:actions), class_names.txt (LabelMe) or classes.txt. The published data set
itself is ``voc20`` or ``voc21``.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.class_list_files import class_list_entries
from lexiseg.core.constants import IGNORE_INDEX, IGNORE_INDEX_8BIT
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.image_decoders import DamagedImageError
from lexiseg.data.formats.annotations import (
    AnnotationSet,
    LabelledImage,
    ListedImage,
    Reader,
    annotation_error,
    copy_image,
)
from lexiseg.data.image_files import PassedOver, is_image_name, walk_files
from lexiseg.data.label_files import read_label_map, voc_colours
from lexiseg.data.png_chunks import decode_whole_png

LABEL_FOLDER, IMAGE_FOLDER = "SegmentationClass", "JPEGImages"
_LISTS = ("labelmap.txt", "class_names.txt", "classes.txt")


def read_voc(folder: Path) -> AnnotationSet:
    """Read a folder with SegmentationClass/, JPEGImages/ and a list of classes.

    Raises:
        DatasetError: The list is missing, or a folder is.
    """
    found = next((folder / name for name in _LISTS if (folder / name).is_file()), None)
    if found is None:
        fix = "Write classes.txt, a name a line in label order; VOC's own classes: --dataset voc21."
        raise annotation_error(folder, "no list of classes", " or ".join(_LISTS), fix)
    names, colours = _read_list(found)
    skipped = PassedOver()
    masks = {
        Path(name).with_suffix("").as_posix(): folder / LABEL_FOLDER / name
        for name in walk_files(folder / LABEL_FOLDER, PassedOver())
        if name.lower().endswith(".png")
    }
    splits = _splits(folder)
    images = []
    for relative in walk_files(folder / IMAGE_FOLDER, PassedOver()):
        if not is_image_name(relative):
            continue
        stem = Path(relative).with_suffix("").as_posix()
        if stem not in masks:
            skipped.add("image without a PNG", relative)
            continue
        images.append(
            ListedImage(
                file_name=f"{IMAGE_FOLDER}/{relative}",
                read=_reader(masks[stem], names, colours),
                split=splits.get(stem),
            )
        )
    if not images:
        expected = f"images in {IMAGE_FOLDER}/ and PNGs of the same stems in {LABEL_FOLDER}/"
        raise annotation_error(folder, skipped.text() or "no image", expected, "Check the folders.")
    return AnnotationSet(format="voc", names=names, images=tuple(images), skipped=skipped)


def write_voc(images: Iterable[LabelledImage], names: Sequence[str], out: Path) -> int:
    """Write SegmentationClass/ as palette PNGs, labelmap.txt, the list default.txt, and JPEGImages/ where files are known.

    Returns:
        The number of label maps.

    Raises:
        InputError: There are more classes than a palette has colours.
        OutputError: A file cannot be written.
    """
    if len(names) >= IGNORE_INDEX_8BIT:
        raise InputError(
            doing=f"writing {out} as VOC",
            found=f"{len(names)} classes",
            expected=f"{IGNORE_INDEX_8BIT - 1} at most: a palette has 256 colours, the last for void",
            fix="Choose --format png, which has 16 bits, or coco.",
        )
    palette = voc_colours()
    stems = []
    for image in images:
        stems.append(image.stem)
        write_palette_png(image.label_map, out / LABEL_FOLDER / f"{image.stem}.png", palette)
        copy_image(image, out / IMAGE_FOLDER)
    lines = ["# label:color_rgb:parts:actions"]
    lines += [f"{name}:{','.join(map(str, palette[label]))}::" for label, name in enumerate(names)]
    with atomic_path(out / "labelmap.txt") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with atomic_path(out / "ImageSets" / "Segmentation" / "default.txt") as temporary:
        temporary.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    return len(stems)


def write_palette_png(
    label_map: UInt16[np.ndarray, "H W"], path: Path, palette: UInt8[np.ndarray, "256 3"]
) -> None:
    """Write a label map as a PNG of 8 bits with colours: 255 = void.

    Raises:
        OutputError: The file cannot be written.
    """
    values = np.where(label_map == IGNORE_INDEX, IGNORE_INDEX_8BIT, label_map).astype(np.uint8)
    image = Image.fromarray(values)
    image.putpalette(palette.ravel().tolist())
    with atomic_path(path) as temporary:
        image.save(temporary)


def _read_list(path: Path) -> tuple[tuple[str, ...], UInt8[np.ndarray, "K 3"] | None]:
    """Return names, and their colours where the list says them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise annotation_error(path, str(error), "UTF-8 text", "Save the file as UTF-8.") from error
    if path.name != "labelmap.txt":
        return tuple(name for name, _ in class_list_entries(text)), None
    rows = [line.split(":") for line in text.split("\n") if line.strip() and not line.startswith("#")]
    try:
        colours = np.array([[int(part) for part in row[1].split(",")] for row in rows], np.uint8)
        if colours.shape != (len(rows), 3) or len(np.unique(colours, axis=0)) < len(rows):
            raise ValueError("colours of other than three parts, or twice")
    except (ValueError, IndexError, OverflowError) as error:
        found = f"lines of another form ({error})"
        raise annotation_error(path, found, "name:r,g,b:parts:actions a line", "Export it again.") from error
    return tuple(row[0] for row in rows), colours


def _reader(path: Path, names: Sequence[str], colours: UInt8[np.ndarray, "K 3"] | None) -> Reader:
    def read(image_size: tuple[int, int] | None) -> UInt16[np.ndarray, "H W"]:
        if colours is None:
            return read_label_map(path, len(names))
        try:
            pixels = decode_whole_png(path, lambda image: np.asarray(image.convert("RGB")))
        except (OSError, DamagedImageError) as error:
            raise DatasetError(
                doing=f"reading the label file {path}",
                found=f"a damaged or incomplete PNG ({error})",
                expected="a PNG with the colours of labelmap.txt",
                fix="Write or copy it again from its source.",
            ) from error
        return _labels_of(path, pixels, colours)

    return read


def _labels_of(
    path: Path, pixels: UInt8[np.ndarray, "H W 3"], colours: UInt8[np.ndarray, "K 3"]
) -> UInt16[np.ndarray, "H W"]:
    weights = np.array([1 << 16, 1 << 8, 1])
    keys, place = np.unique(pixels.astype(np.int64) @ weights, return_inverse=True)
    known = {int(key): label for label, key in enumerate(colours.astype(np.int64) @ weights)}
    void = int(voc_colours()[IGNORE_INDEX_8BIT].astype(np.int64) @ weights)
    table = np.array([known.get(int(key), IGNORE_INDEX) for key in keys], np.uint16)
    strange = [int(key) for key in keys if int(key) not in known and int(key) != void]
    if strange:
        shown = ", ".join(str(tuple(key >> shift & 255 for shift in (16, 8, 0))) for key in strange[:3])
        raise DatasetError(
            doing=f"reading the label file {path}",
            found=f"{len(strange)} colours that are in no line of labelmap.txt: {shown}",
            expected="its colours, and (224, 224, 192) for void",
            fix="Use the PNGs that belong to the list; JPEG or resizing has lost them.",
        )
    return table[place.reshape(pixels.shape[:2])]


def _splits(folder: Path) -> dict[str, str]:
    lists = folder / "ImageSets" / "Segmentation"
    found = {}
    for split in ("train", "val", "test"):
        if (lists / f"{split}.txt").is_file():
            for line in (lists / f"{split}.txt").read_text(encoding="utf-8").split("\n"):
                found[line.strip()] = split
    return found
