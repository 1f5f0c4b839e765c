"""The results of ``lexiseg segment`` as images to be written in other formats."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lexiseg.core.errors import DatasetError
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.core.result_files import FACTS, LABELS, file_digest, read_facts
from lexiseg.data.formats.annotations import LabelledImage
from lexiseg.data.formats.coco import number_images
from lexiseg.data.image_files import PassedOver, walk_files


class SegmentedFolder:
    """The whole results below a folder, of one vocabulary.

    Args:
        folder: What ``lexiseg segment`` wrote.

    Attributes:
        names: Class names in label order.
        stems: One a result, sorted.
        passed_over: Label maps that are no whole result, counted.

    Raises:
        DatasetError: There is none, or they are of several vocabularies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passed_over = PassedOver()
        self.stems: list[str] = []
        vocabularies: dict[tuple[str, ...], str] = {}
        for relative in walk_files(folder, PassedOver()):
            if not relative.endswith(LABELS):
                continue
            stem = relative.removesuffix(LABELS)
            facts = _read(folder / f"{stem}{FACTS}")
            if facts is None or facts.digest != file_digest(folder / relative):
                self.passed_over.add("label map without whole facts", relative)
                continue
            vocabularies.setdefault(facts.names, stem)
            self.stems.append(stem)
        if len(vocabularies) != 1:
            shown = "; ".join(
                f"{stem}: {', '.join(names[:4])}" for names, stem in list(vocabularies.items())[:3]
            )
            raise DatasetError(
                doing=f"reading results in {folder}",
                found=f"{len(vocabularies)} vocabularies ({shown})" if vocabularies else "no result",
                expected="what lexiseg segment wrote by one request, or a predictions store",
                fix="Check the path; export results of other words from folders of their own.",
            )
        self.names = next(iter(vocabularies))
        self.stems.sort()

    def __len__(self) -> int:
        return len(self.stems)

    def __iter__(self) -> Iterator[LabelledImage]:
        numbers = number_images(self.stems)
        for stem in self.stems:
            facts = _read(self.folder / f"{stem}{FACTS}")
            path = self.folder / f"{stem}{LABELS}"
            try:
                if facts is None:
                    raise DamagedImageError("its facts are damaged since they were listed")
                label_map = decode(path, lambda image: np.asarray(image).astype(np.uint16), ("PNG",))
            except (OSError, DamagedImageError) as error:
                raise DatasetError(
                    doing=f"reading the label map {path}",
                    found=str(error),
                    expected="what lexiseg segment wrote",
                    fix="Segment the image again.",
                ) from error
            source = facts.source
            yield LabelledImage(
                stem=stem.replace(os.sep, "/"),
                id=numbers[stem],
                file_name=f"{stem.replace(os.sep, '/')}{source.suffix if source else '.jpg'}",
                label_map=label_map,
                scores=facts.scores,
                source=source if source is not None and os.path.isfile(source) else None,
            )


class _Facts(NamedTuple):
    names: tuple[str, ...]
    digest: object
    source: Path | None
    scores: dict[int, float]


def _read(path: Path) -> _Facts | None:
    """Read what a result says of itself; None where it is damaged or not ours."""
    facts = read_facts(path)
    if facts is None:
        return None
    try:
        names, source = facts["vocabulary"], facts["source"]
        if not all(isinstance(text, str) for text in (*names, source or "")) or not names:
            return None
        scores = {int(share["label"]): float(share["mean_score"]) for share in facts["classes"]}
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    return _Facts(
        names=tuple(names),
        digest=facts.get("labels_sha256"),
        source=Path(source) if source else None,
        scores=scores,
    )
