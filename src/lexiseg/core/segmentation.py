"""Segmentation: a label per pixel and the vocabulary it indexes. Draws and saves itself."""

import base64
import html
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16
from PIL import Image, ImageOps

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import annotate
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.drawing import UNKNOWN, class_colours, draw_overlay
from lexiseg.core.errors import InputError, MissingPackageError
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.core.label_maps import label_counts
from lexiseg.core.result_files import (
    FACTS,
    LABELS,
    OVERLAY,
    file_digest,
    image_facts,
    read_facts,
    result_paths,
)
from lexiseg.core.vocabulary import Vocabulary

MAX_LEGEND_ENTRIES = 16

#: An ``absent_chance`` above this makes a result doubtful.
DOUBTFUL_FROM = 0.05
MAX_REPR_CLASSES = 5


@dataclass(frozen=True, kw_only=True)
class ClassShare:
    """How much of an image one class covers.

    Attributes:
        label: Value in the label map.
        name: Class name.
        share: Part of the image's pixels, in (0, 1].
        mean_score: Mean over its pixels of the winning score, on the model's own scale.
    """

    label: int
    name: str
    share: float
    mean_score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """A label for every pixel of one image.

    Attributes:
        label_map: Class index per pixel at the image's original, upright size; 65535 = void.
        score_map: The winning class's score per pixel, on the model's own scale.
        vocabulary: What the labels index.
        image: The image, RGB, 0..255.
        source: File the image came from, if any.
        settings: Model and every inference setting that made it.
        unknown: Pixels that resemble nothing the model knows, whatever their label (void, or the nearest
            class all the same); None for a model that cannot tell.
        absent_chance: Chance that the best of as many words which are not there scores as high in an image as the best
            part of this one does; None where that was not measured. From 0.05 on the image may show none of the words.
        class_scores: Scores of all classes on the encoder's grid, on the model's own scale; None unless asked for.
        tiling: How an image that is much larger than the model's size was seen; None for one that is not.
    """

    label_map: UInt16[np.ndarray, "H W"]
    score_map: Float32[np.ndarray, "H W"]
    vocabulary: Vocabulary
    image: UInt8[np.ndarray, "H W 3"]
    source: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    unknown: Bool[np.ndarray, "H W"] | None = None
    absent_chance: float | None = None
    tiling: Mapping[str, Any] | None = None
    class_scores: Float32[np.ndarray, "K h w"] | None = None

    def __repr__(self) -> str:
        height, width = self.label_map.shape
        shares = self.shares()
        classes = ", ".join(f"{share.name} {share.share:.1%}" for share in shares[:MAX_REPR_CLASSES])
        more = f", {len(shares) - MAX_REPR_CLASSES} more" if len(shares) > MAX_REPR_CLASSES else ""
        more += f", unknown {self.unknown_share:.1%}" if self.unknown_share else ""
        return f"<Segmentation of {self.source or 'an image'}, {height}×{width}: {classes or 'void'}{more}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the label map, for ``numpy.asarray``."""
        return np.array(self.label_map, dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        height, width = self.label_map.shape
        return height, width

    @property
    def unknown_share(self) -> float:
        """Return the part of the image's pixels that resemble nothing the model knows; 0 where it cannot tell."""
        return 0.0 if self.unknown is None else float(self.unknown.mean())

    @property
    def is_doubtful(self) -> bool:
        """Return whether the image may show none of the words; False where nothing tells."""
        return self.absent_chance is not None and self.absent_chance > DOUBTFUL_FROM

    def shares(self) -> list[ClassShare]:
        """List the classes that occur, the largest first."""
        counts, sums = label_counts(self.label_map, len(self.vocabulary), self.score_map)
        present = [label for label in np.flatnonzero(counts) if label != IGNORE_INDEX]
        return [
            ClassShare(
                label=int(label),
                name=self.vocabulary.names[label],
                share=float(counts[label] / self.label_map.size),
                mean_score=float(sums[label] / counts[label]),
            )
            for label in sorted(present, key=lambda label: -counts[label])
        ]

    def masks(self) -> dict[str, Bool[np.ndarray, "H W"]]:
        """Return one boolean mask per class that occurs, the largest first.

        A class of the vocabulary that won no pixel has no entry: ``masks().get("sofa")`` is None then.
        """
        return {share.name: self.label_map == share.label for share in self.shares()}

    def overlay(self, *, opacity: float = 0.55, legend: bool = True, names: bool = True) -> Image.Image:
        """Draw the label map over the image; what is unknown is hatched.

        Args:
            opacity: Weight of the colours, in [0, 1].
            legend: Add a legend of the largest classes below the image.
            names: Write the name of each class on its largest region, where it fits.

        Raises:
            InputError: ``opacity`` is out of range.
        """
        if not 0 <= opacity <= 1:
            raise InputError(
                doing="drawing an overlay",
                found=f"opacity = {opacity!r}",
                expected="a number from 0 (only the image) to 1 (only the colours)",
                fix="Leave it out for 0.55.",
            )
        shares = self.shares() if legend else []
        entries = [(share.label, f"{share.name}  {share.share:.1%}") for share in shares[:MAX_LEGEND_ENTRIES]]
        if len(shares) > MAX_LEGEND_ENTRIES:
            rest = sum(share.share for share in shares[MAX_LEGEND_ENTRIES:])
            entries.append((IGNORE_INDEX, f"{len(shares) - MAX_LEGEND_ENTRIES} more  {rest:.1%}"))
        if legend and self.unknown_share:
            entries.append((UNKNOWN, f"unknown  {self.unknown_share:.1%}"))
        if legend and self.is_doubtful:
            entries.append((IGNORE_INDEX, "perhaps none of these"))
        named = [(share.label, share.name) for share in self.shares()[:MAX_LEGEND_ENTRIES]] if names else []
        return draw_overlay(
            self.image,
            self.label_map,
            len(self.vocabulary),
            entries,
            opacity=opacity,
            hatched=self.unknown,
            names=named,
        )

    def _repr_png_(self) -> bytes:
        """Return the overlay as PNG: what notebooks show."""
        held = io.BytesIO()
        self.overlay().save(held, format="PNG")
        return held.getvalue()

    def _repr_html_(self) -> str:
        """Return the overlay and a table of the classes with their shares, as HTML that needs nothing else."""
        encoded = base64.b64encode(self._repr_png_()).decode()
        colours = class_colours(len(self.vocabulary))
        rows = "".join(
            f'<tr><td style="background:rgb({",".join(map(str, colours[share.label]))});width:1.5em"></td>'
            f'<td style="text-align:left">{html.escape(share.name)}</td><td>{share.share:.1%}</td></tr>'
            for share in self.shares()
        )
        height, width = self.shape
        said = html.escape(f"{self.source.name if self.source else 'an image'}, {width} × {height}")
        return (
            f'<figure style="margin:0"><img src="data:image/png;base64,{encoded}" alt="{said}" style="max-width:100%">'
            f"<figcaption>{said}</figcaption></figure><table>{rows}</table>"
        )

    def plot(self, path: str | Path | None = None) -> Image.Image:
        """Return image and overlay side by side; also write them to a file where one is named.

        Raises:
            OutputError: The file cannot be written.
        """
        overlay = self.overlay()
        sheet = Image.new("RGB", (self.image.shape[1] + overlay.width, overlay.height), "white")
        sheet.paste(Image.fromarray(self.image), (0, 0))
        sheet.paste(overlay, (self.image.shape[1], 0))
        if path is not None:
            with atomic_path(Path(path)) as temporary:
                sheet.save(temporary)
        return sheet

    def to_coco_rle(self) -> list[dict[str, Any]]:
        """Return one COCO annotation per class that occurs, the largest first.

        Returns:
            Dictionaries with ``category_id`` (the label), ``category_name``, ``segmentation``
            (compressed run lengths, readable by pycocotools), ``area`` in pixels, ``bbox``
            as ``[x, y, width, height]`` and ``score`` (the class's mean score).
        """
        by_label = {found["category_id"]: found for found in annotate(self.label_map, self.vocabulary.names)}
        return [{**by_label[share.label], "score": share.mean_score} for share in self.shares()]

    def to_supervision(self) -> Any:
        """Return the classes that occur as ``supervision.Detections``, one a class, the largest first.

        ``xyxy`` in pixels, ``mask``, ``confidence`` (mean score), ``class_id`` (label) and ``data["class_name"]``.

        Raises:
            MissingPackageError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingPackageError(
                doing="making detections for supervision",
                found="no package supervision",
                expected="supervision, which Lexiseg itself does not need",
                fix="Run: pip install supervision; or use masks().",
            ) from error
        found = self.to_coco_rle()
        masks = self.masks()
        boxes = [(x, y, x + width, y + height) for x, y, width, height in (one["bbox"] for one in found)]
        return supervision.Detections(
            xyxy=np.array(boxes, np.float64).reshape(-1, 4),
            mask=np.array([masks[one["category_name"]] for one in found], bool).reshape(-1, *self.shape),
            confidence=np.array([one["score"] for one in found], np.float32),
            class_id=np.array([one["category_id"] for one in found], int),
            data={"class_name": np.array([one["category_name"] for one in found])},
        )

    def to_dataframe(self) -> Any:
        """Return the classes that occur as a pandas DataFrame: label, name, share, mean_score; the largest first.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError(
                doing="making a DataFrame",
                found="no package pandas",
                expected="pandas, which Lexiseg itself does not need",
                fix="Run: pip install pandas; or use shares().",
            ) from error
        return pandas.DataFrame(
            [asdict(share) for share in self.shares()], columns=["label", "name", "share", "mean_score"]
        )

    @classmethod
    def load(cls, path: str | Path, *, image: UInt8[np.ndarray, "H W 3"] | None = None) -> "Segmentation":
        """Read what ``save`` wrote. Of the scores, the mean of each class is kept; pixels have that.

        Args:
            path: Any of the three files, or their common beginning.
            image: The image; None reads the file that it came from.

        Raises:
            InputError: There is no whole result, it was changed, or its image cannot be read or has another size.
        """
        return load_segmentation(path, image)

    def save(
        self, folder: str | Path, stem: str | None = None, *, image: Mapping[str, Any] | None = None
    ) -> dict[str, Path]:
        """Write the label map, the overlay and the facts; each file whole or not at all.

        Args:
            folder: Made if it does not exist.
            stem: Start of the file names; the source's stem if left out. One too long for a file
                name is cut, with a hash.
            image: Facts of the source's file from before it was read; taken now if left out.

        Returns:
            Paths of ``labels`` (16-bit grey PNG), ``overlay`` (PNG) and ``json`` (written last,
            so that its presence says that all three are complete and belong together).

        Raises:
            OutputError: The folder cannot be written.
        """
        paths = result_paths(folder, stem or (self.source.stem if self.source else "segmentation"))
        facts = self.to_json(image=image)
        with atomic_path(paths["labels"]) as temporary:
            Image.fromarray(self.label_map).save(temporary, compress_level=3)
            facts["labels_sha256"] = file_digest(temporary)
            paths["json"].unlink(missing_ok=True)  # facts of older labels must not outlive them
        try:
            with atomic_path(paths["overlay"]) as temporary:
                # compress_level 1: 15 % larger than the default, four times faster
                self.overlay().save(temporary, compress_level=1)
            with atomic_path(paths["json"]) as temporary:
                text = json.dumps(facts, indent=1, ensure_ascii=False)
                # Bytes of a file name that are no text become JSON's own escapes, and read back as they were.
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        except BaseException:
            for kind in ("labels", "overlay"):  # without facts, nobody could tell what they show
                with suppress(OSError):
                    paths[kind].unlink()
            raise
        return paths

    def to_json(self, *, image: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return everything but the pixels: size, classes that occur, vocabulary, settings.

        Args:
            image: Facts of the source's file from before it was read; taken now if left out.
        """
        height, width = self.label_map.shape
        return {
            "source": str(self.source) if self.source else None,
            "image": image_facts(self.source) if image is None else dict(image),
            "size": {"height": height, "width": width},
            "classes": [asdict(share) for share in self.shares()],
            **({} if self.unknown is None else {"unknown_share": self.unknown_share}),
            **({} if self.absent_chance is None else {"absent_chance": self.absent_chance}),
            **({} if self.tiling is None else {"tiling": dict(self.tiling)}),
            **self.vocabulary.to_json(),
            "settings": dict(self.settings),
        }


def load_segmentation(path: str | Path, image: UInt8[np.ndarray, "H W 3"] | None) -> Segmentation:
    """Read what ``Segmentation.save`` wrote; see ``Segmentation.load``."""
    base = str(path)
    for end in (LABELS, OVERLAY, FACTS):
        base = base.removesuffix(end)
    facts, labels = read_facts(base + FACTS), Path(base + LABELS)
    if facts is None or not labels.is_file() or facts.get("labels_sha256") != file_digest(labels):
        raise InputError(
            doing=f"loading the result {base}",
            found="no result" if facts is None else "a label map that is missing or was changed",
            expected=f"NAME{FACTS} and NAME{LABELS} as lexiseg segment wrote them",
            fix="Name one of these files, or segment the image again.",
        )
    label_map = decode(labels, lambda file: np.asarray(file).astype(np.uint16), ("PNG",))
    means = np.zeros(IGNORE_INDEX + 1, np.float32)
    for share in facts["classes"]:
        means[share["label"]] = share["mean_score"]
    names, synonyms = facts["vocabulary"], facts.get("synonyms", {})
    return Segmentation(
        label_map=label_map,
        score_map=means[label_map],
        vocabulary=Vocabulary(
            names=tuple(names), synonyms=tuple(tuple(synonyms.get(name, ())) for name in names)
        ),
        image=_source_image(facts["source"], label_map.shape) if image is None else image,
        source=Path(facts["source"]) if facts["source"] else None,
        settings=facts["settings"],
        absent_chance=facts.get("absent_chance"),
        tiling=facts.get("tiling"),
    )


def _source_image(source: str | None, shape: tuple[int, ...]) -> UInt8[np.ndarray, "H W 3"]:
    found = "no file that it came from"
    if source is not None:
        try:
            pixels = decode(source, lambda file: np.array(ImageOps.exif_transpose(file).convert("RGB")))
            if pixels.shape[:2] == shape:
                return pixels
            found = f"{source} of {pixels.shape[0]}×{pixels.shape[1]}"
        except (OSError, DamagedImageError) as error:
            found = f"{source}, which cannot be read ({error})"
    raise InputError(
        doing="loading the image of a result",
        found=found,
        expected=f"its image of {shape[0]}×{shape[1]}",
        fix="Give it: Segmentation.load(path, image=array).",
    )
