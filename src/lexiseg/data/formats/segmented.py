"""The results of ``lexiseg segment`` as images to be written in other formats."""

import os
from collections.abc import Iterator
from pathlib import Path

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
            facts = read_facts(folder / f"{stem}{FACTS}")
            if facts is None or facts.get("labels_sha256") != file_digest(folder / relative):
                self.passed_over.add("label map without whole facts", relative)
                continue
            vocabularies.setdefault(tuple(facts["vocabulary"]), stem)
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
            facts = read_facts(self.folder / f"{stem}{FACTS}")
            assert facts is not None
            path = self.folder / f"{stem}{LABELS}"
            try:
                label_map = decode(path, lambda image: np.asarray(image).astype(np.uint16), ("PNG",))
            except (OSError, DamagedImageError) as error:
                raise DatasetError(
                    doing=f"reading the label map {path}",
                    found=str(error),
                    expected="what lexiseg segment wrote",
                    fix="Segment the image again.",
                ) from error
            source = Path(facts["source"]) if facts["source"] else None
            yield LabelledImage(
                stem=stem.replace(os.sep, "/"),
                id=numbers[stem],
                file_name=f"{stem.replace(os.sep, '/')}{source.suffix if source else '.jpg'}",
                label_map=label_map,
                scores={share["label"]: share["mean_score"] for share in facts["classes"]},
                source=source if source is not None and source.is_file() else None,
            )
