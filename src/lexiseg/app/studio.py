"""What can be asked of a server: images in, words, why, corrections, downloads. Runs in the one thread of the model."""

import io
import itertools
import math
import re
import tempfile
import unicodedata
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lexiseg.app.fair_queue import Visitor
from lexiseg.app.image_store import Asked, ImageStore, KeptImage
from lexiseg.app.limits import Limits
from lexiseg.app.refusals import RefusalError
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.drawing import class_colours
from lexiseg.core.errors import ImageError
from lexiseg.core.image_decoders import decode
from lexiseg.core.label_maps import label_counts
from lexiseg.data.formats.annotations import LabelledImage
from lexiseg.data.formats.coco import CocoCategories
from lexiseg.data.formats.known_formats import known_format
from lexiseg.data.images import load_image
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.explain import explain_pixel
from lexiseg.inference.segmenter import Segmenter

#: Longer side in pixels of what a page shows.
PREVIEW_SIDE = 1600
#: Vocabularies whose embeddings are kept at hand.
_REMEMBERED = 16
_LONGEST_NAME = 80
#: A format beside those of ``known_formats``: images with the colours laid over.
OVERLAYS = "overlays"


class Studio:
    """A model, and the images that visitors have brought.

    Args:
        model: Segments.
        limits: Bounds of what is taken.
    """

    def __init__(self, model: Segmenter, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.images = ImageStore(limits.memory_mb * 2**20, model.remembered_bytes)
        self._names: OrderedDict[tuple[str | None, str], ClassNames] = OrderedDict()
        self._revisions = itertools.count(1)

    def add(self, visitor: Visitor, name: str, body: bytes) -> dict[str, Any]:
        """Read and encode an image, and keep it.

        Raises:
            RefusalError: It is too large.
            ImageError: It cannot be read.
        """
        kept = self.images.add(visitor, safe_name(name), self._encode(body, {}))
        height, width = kept.encoded.image.shape[:2]
        return {"id": kept.id, "name": kept.name, "width": width, "height": height}

    def ask(self, image_id: str, words: str | None, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Label an image that is encoded already; what was corrected is forgotten.

        Raises:
            RefusalError: The image is not there.
            InputError: The words or the changes cannot be used.
        """
        kept = self.images.get(image_id)
        names = self._class_names(words, changes)
        segmentation = self.model.segment(kept.encoded, names, **changes)
        asked = Asked(
            class_names=names,
            changes=dict(changes),
            segmentation=segmentation,
            revision=next(self._revisions),
        )
        return describe_labels(self.images.change(image_id, asked=asked, corrected=None))

    def labels(self, image_id: str, revision: int | None) -> bytes:
        """Return the label map, row by row, as 16-bit numbers, low byte first; 65535 is void.

        Raises:
            RefusalError: The image is not there, was asked nothing, or has been asked anew since ``revision``.
        """
        kept = self._answered(image_id)
        assert kept.asked is not None
        if revision is not None and revision != kept.asked.revision:
            raise RefusalError(
                409,
                doing="reading a label map",
                found=f"revision {kept.asked.revision}",
                expected=f"revision {revision}",
                fix="Read the answer to the last words.",
            )
        return kept.label_map.astype("<u2").tobytes()

    def correct(self, image_id: str, body: bytes) -> dict[str, Any]:
        """Keep a label map that a person corrected, in the form that ``labels`` gives.

        Raises:
            RefusalError: The image is not there, or was asked nothing; the map has another size or a label of no class.
        """
        kept = self._answered(image_id)
        assert kept.asked is not None
        shape = kept.label_map.shape
        if len(body) != 2 * shape[0] * shape[1]:
            raise RefusalError(
                422,
                doing=f"correcting {kept.name}",
                found=f"{len(body):,} bytes",
                expected=f"{2 * shape[0] * shape[1]:,}: two a pixel of {shape[1]}×{shape[0]}",
                fix="Send the whole label map, row by row, low byte first.",
            )
        labels = np.frombuffer(body, "<u2").reshape(shape).astype(np.uint16)
        count = len(kept.asked.segmentation.vocabulary)
        wrong = np.unique(labels[(labels >= count) & (labels != IGNORE_INDEX)])
        if len(wrong):
            raise RefusalError(
                422,
                doing=f"correcting {kept.name}",
                found=f"the label {wrong[0]}",
                expected=f"0 to {count - 1}, or 65535 for void",
                fix="Send labels of the answer's classes.",
            )
        return describe_labels(self.images.change(image_id, corrected=labels))

    def explain(self, image_id: str, x: int, y: int) -> dict[str, Any]:
        """Tell why a pixel got its label by the last words; corrections are not looked at.

        Raises:
            RefusalError: The image is not there, or was asked nothing.
            InputError: The point is no pixel.
        """
        kept = self._answered(image_id)
        asked = kept.asked
        assert asked is not None
        settings = self.model.settings.changed(**asked.changes)
        found = explain_pixel(
            self.model, kept.encoded, asked.class_names, asked.segmentation, settings, (x, y)
        )
        return finite(found.to_json(images=True))

    def preview(self, image_id: str) -> bytes:
        """Return the image as a JPEG of at most ``PREVIEW_SIDE`` pixels a side.

        Raises:
            RefusalError: The image is not there.
        """
        small = Image.fromarray(self.images.get(image_id).encoded.image)
        small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        return _encoded(small, "JPEG", quality=90)

    def download(self, image_ids: Sequence[str], name: str) -> tuple[str, bytes]:
        """Write label maps of images, corrected ones as they were corrected, in a format.

        Returns:
            Name and content of a file; a zip where the format is a folder or more than one file.

        Raises:
            RefusalError: An image is not there or was asked nothing, or they were asked different words.
            UnknownNameError: There is no such format.
            MissingPackageError: The format needs one.
        """
        chosen = None if name == OVERLAYS else known_format(name)
        kept = [self._answered(image_id) for image_id in image_ids]
        first = kept[0].asked
        assert first is not None
        names = first.segmentation.vocabulary.names
        if any(each.asked is not None and each.asked.segmentation.vocabulary.names != names for each in kept):
            raise RefusalError(
                409,
                doing="writing a download",
                found="images that were asked different words",
                expected="the same words for all of one file",
                fix="Ask all of them the same words first.",
            )
        with tempfile.TemporaryDirectory(prefix="lexiseg-serve-") as place:
            folder = Path(place)
            if chosen is None:
                files = {
                    f"{stem}.png": _encoded(_overlay(each), "PNG", compress_level=1)
                    for stem, each in zip(stems(kept), kept, strict=True)
                }
                return "overlays.zip", _zipped(files)
            out = folder / f"{name}{chosen.suffix}"
            images = [
                _labelled(each, stem, number)
                for number, (stem, each) in enumerate(zip(stems(kept), kept, strict=True), start=1)
            ]
            chosen.write(images, CocoCategories(names=names, ids=tuple(range(len(names)))), out)
            files = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        if len(files) == 1 and chosen.suffix:
            ((file_name, content),) = files.items()
            return file_name, content
        return f"{name}.zip", _zipped(files)

    def once(self, body: bytes, words: str | None, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Label an image and keep nothing: classes, and each one's mask as COCO run lengths.

        Raises:
            RefusalError: The image is too large.
            InputError: The image, the words or the changes cannot be used.
        """
        names = self._class_names(words, changes)
        segmentation = self.model.segment(self._encode(body, changes), names, **changes)
        height, width = segmentation.shape
        return finite(
            {
                "width": width,
                "height": height,
                "model": self.model.name,
                "absent_chance": segmentation.absent_chance,
                "classes": [asdict(share) for share in segmentation.shares()],
                "masks": segmentation.to_coco_rle(),
            }
        )

    def _answered(self, image_id: str) -> KeptImage:
        kept = self.images.get(image_id)
        if kept.asked is None:
            raise RefusalError(
                409,
                doing=f"looking at {kept.name}",
                found="an image that was asked nothing yet",
                expected="one that was labelled",
                fix="Ask it some words first.",
            )
        return kept

    def _class_names(self, words: str | None, changes: Mapping[str, Any]) -> ClassNames:
        key = words, repr(sorted(changes.items()))
        if key not in self._names:
            settings = self.model.settings.changed(**changes)
            self.model.refuse_settings(settings)
            asked = self.model.own_words() if words is None else words
            self._names[key] = self.model.name_classes(asked, settings)
            while len(self._names) > _REMEMBERED:
                self._names.popitem(last=False)
        self._names.move_to_end(key)
        return self._names[key]

    def _encode(self, body: bytes, changes: Mapping[str, Any]) -> EncodedImage:
        refuse_large(body, self.limits.max_megapixels)
        return self.model.encode(load_image(body), **changes)


def refuse_large(body: bytes, max_megapixels: int) -> None:
    """Refuse an image file of more pixels than are taken; only its header is read. Damage is said by whoever decodes it.

    Raises:
        RefusalError: It has more.
        ImageError: There is nothing in it.
    """
    if not body:
        raise ImageError(
            doing="reading an upload", found="no bytes", expected="an image file", fix="Send the file itself."
        )
    try:
        width, height = decode(io.BytesIO(body), lambda image: image.size)
    except (OSError, ValueError):
        return
    if width * height > max_megapixels * 1_000_000:
        raise RefusalError(
            413,
            doing="reading an upload",
            found=f"{width}×{height} pixels",
            expected=f"at most {max_megapixels} million",
            fix="Shrink or cut it first, or start the server with more --max-megapixels.",
        )


def safe_name(name: str) -> str:
    """Return a file's name with nothing in it that a file system or a page could take for something else."""
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    clean = re.sub(r"[^\w.\- ()]", "_", last).strip(" .") or "image"
    stem, dot, suffix = clean.rpartition(".")
    return f"{stem[:_LONGEST_NAME]}.{suffix[:8]}" if dot and stem else clean[:_LONGEST_NAME]


def stems(kept: Sequence[KeptImage]) -> list[str]:
    """Return a name without suffix for each image, all different."""
    seen: Counter[str] = Counter()
    found = []
    for each in kept:
        stem = each.name.rpartition(".")[0] or each.name
        seen[stem.casefold()] += 1
        count = seen[stem.casefold()]
        found.append(stem if count == 1 else f"{stem} ({count})")
    return found


def describe_labels(kept: KeptImage) -> dict[str, Any]:
    """Return what a page shows of an answer: classes with their colours and shares, and the revision of the label map."""
    assert kept.asked is not None
    segmentation = kept.asked.segmentation
    names = segmentation.vocabulary.names
    counts, sums = label_counts(kept.label_map, len(names), segmentation.score_map)
    colours = class_colours(len(names))
    return finite(
        {
            "revision": kept.asked.revision,
            "corrected": kept.corrected is not None,
            "absent_chance": segmentation.absent_chance,
            "classes": [
                {
                    "label": label,
                    "name": name,
                    "colour": "#" + bytes(colours[label]).hex(),
                    "share": float(counts[label] / kept.label_map.size),
                    "mean_score": float(sums[label] / counts[label]) if counts[label] else None,
                }
                for label, name in enumerate(names)
            ],
        }
    )


def finite(value: Any) -> Any:
    """Return plain values with None for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list) else value


def _labelled(kept: KeptImage, stem: str, number: int) -> LabelledImage:
    assert kept.asked is not None
    shares = kept.asked.segmentation.shares() if kept.corrected is None else []
    suffix = kept.name.rpartition(".")[2]
    return LabelledImage(
        stem=stem,
        id=number,
        file_name=f"{stem}.{suffix}",
        label_map=kept.label_map,
        scores={share.label: share.mean_score for share in shares},
    )


def _overlay(kept: KeptImage) -> Image.Image:
    assert kept.asked is not None
    return replace(kept.asked.segmentation, label_map=kept.label_map).overlay()


def _encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **how)
    return held.getvalue()


def _zipped(files: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return held.getvalue()
