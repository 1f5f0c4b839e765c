"""SegmentJob: images of files and shards in, the three files of each result out."""

import errno
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lexiseg.core.errors import ImageError, OutputError
from lexiseg.core.segmentation import DOUBTFUL_FROM, ClassShare, Segmentation
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.formats.result_shards import ResultRow, RowKind, done_row
from lexiseg.data.image_shards import ShardReader
from lexiseg.data.images import ImageSource, ValueRange, load_image
from lexiseg.data.rasters import read_bands
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.explain import explain_regions
from lexiseg.inference.explanation_sheet import write_explanations
from lexiseg.inference.segmenter import Segmenter
from lexiseg.runs.bulk.image_plan import PlannedImage
from lexiseg.runs.bulk.inputs import facts_of, is_done
from lexiseg.runs.bulk.job import Numbered, Outcome
from lexiseg.runs.bulk.model_job import ModelJob

#: The file system takes no such name: too long with all its folders, or with letters it does not know.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


@dataclass(frozen=True, kw_only=True)
class ResultSummary:
    """What a person is told of a result, without its pixels.

    Attributes:
        class_shares: Classes that occur, the largest first.
        unknown_share: As of ``Segmentation``.
        absent_chance: As there.
        tiling: As there.
    """

    class_shares: tuple[ClassShare, ...]
    unknown_share: float
    absent_chance: float | None
    tiling: Mapping[str, Any] | None

    @classmethod
    def of(cls, segmentation: Segmentation) -> "ResultSummary":
        """Summarise a result."""
        return cls(
            class_shares=tuple(segmentation.shares()),
            unknown_share=segmentation.unknown_share,
            absent_chance=segmentation.absent_chance,
            tiling=segmentation.tiling,
        )

    @property
    def is_doubtful(self) -> bool:
        """Return whether the image may show none of the words; False where nothing tells."""
        return self.absent_chance is not None and self.absent_chance > DOUBTFUL_FROM

    def shares(self) -> list[ClassShare]:
        """List the classes that occur, the largest first."""
        return list(self.class_shares)


@dataclass(frozen=True, kw_only=True)
class KeptRow:
    """A result that whoever started the job writes.

    Attributes:
        summary: What a person is told.
        row: What is written.
    """

    summary: ResultSummary
    row: ResultRow


class SegmentJob(ModelJob):
    """Segment images; what is asked for of each is where it is and the stem of its results.

    The content of an outcome is a ``ResultSummary``, or a ``KeptRow`` where nothing is written. While an image's
    files are written the next one is segmented.

    Args:
        load: As for ``ModelJob``.
        device: As there.
        vocabulary: The words.
        changes: Fields of ``InferenceSettings`` to change.
        request: What ``Segmenter.describe`` says of them: results of the same request that are whole are kept.
        out: Folder of the results.
        bands: Bands of TIFFs that are looked at; None for those that the file calls red, green and blue.
        value_range: Values that are black and white; None for those of the file's type.
        how_read: How these were asked for, for the record.
        explains: Write why the largest regions got their labels, too.
        redoes: Segment also what is there.
        rows: Give rows that hold labels so, instead of writing files; what is there is not looked for.
        seconds: As for ``ModelJob``.
        segmenter: As there.
    """

    name = "segmenting"

    def __init__(
        self,
        *,
        load: Callable[..., Segmenter],
        device: str,
        vocabulary: Vocabulary,
        changes: Mapping[str, Any],
        request: Mapping[str, Any],
        out: Path,
        bands: tuple[int, ...] | None = None,
        value_range: ValueRange | None = None,
        how_read: Mapping[str, str] | None = None,
        explains: bool = False,
        redoes: bool = False,
        rows: RowKind | None = None,
        seconds: float | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        super().__init__(load=load, device=device, seconds=seconds, segmenter=segmenter)
        self._vocabulary, self._changes, self._request = vocabulary, dict(changes), dict(request)
        self._out = out
        self._bands, self._value_range, self._how_read = bands, value_range, dict(how_read or {})
        self._explains, self._redoes = explains, redoes
        self._rows = rows
        self._shards = ShardReader()

    def name_classes(self, segmenter: Segmenter) -> ClassNames:
        """Embed the words."""
        return segmenter.name_classes(self._vocabulary, segmenter.settings.changed(**self._changes))

    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Segment images, each a place and the stem of its results.

        Raises:
            OutputError: Results cannot be written; a name that the folder cannot hold is a failure of its image only.
        """
        self.open()
        with ThreadPoolExecutor(max_workers=1) as writer:
            writing: tuple[int, Future[ResultSummary | KeptRow]] | None = None
            for number, (planned, stem) in inputs:
                found = self._segment(number, planned, stem)
                if isinstance(found, Outcome):
                    yield found
                    continue
                segmentation, photo = found
                if writing is not None:  # at most one image waits
                    yield _finished(*writing)
                writing = number, writer.submit(self._keep, segmentation, stem, photo)
            if writing is not None:
                yield _finished(*writing)

    def _keep(
        self, segmentation: Segmentation, stem: str, photo: dict[str, Any] | None
    ) -> ResultSummary | KeptRow:
        """Write a result, or make its row."""
        summary = ResultSummary.of(segmentation)
        if self._rows is not None:
            return KeptRow(summary=summary, row=done_row(segmentation, stem, photo, self._rows))
        segmentation.save(self._out, stem, image=photo)
        return summary

    def _segment(
        self, number: int, planned: PlannedImage, stem: str
    ) -> Outcome | tuple[Segmentation, dict[str, Any] | None]:
        """Segment one image, or say why not; with what tells its file from every other."""
        photo = facts_of(planned)  # before it is read: a later change makes it new
        sheet = self._out / f"{stem}.explain.html"
        is_explained = not self._explains or sheet.is_file()
        looks = self._rows is None and not self._redoes
        if looks and is_explained and is_done(self._out, stem, photo, self._request):
            return Outcome(number=number, state="there")
        segmenter, class_names = self.open()
        try:
            path = planned if isinstance(planned, Path) else planned.path
            image: ImageSource = planned if isinstance(planned, Path) else self._shards.read(planned)
            if self._bands is not None:
                image = read_bands(path, self._bands, self._value_range)
            elif self._value_range is not None:
                image = load_image(image, self._value_range)
            encoded = segmenter.encode(image, **self._changes)
            segmentation = segmenter.segment(encoded, class_names, **self._changes)
            settings = {**segmentation.settings, **self._how_read}
            segmentation = replace(segmentation, source=path, settings=settings)
            if self._explains:
                used = segmenter.settings.changed(**self._changes)
                why = explain_regions(segmenter, encoded, class_names, segmentation, used)
                write_explanations(encoded.image, why, sheet, path.name)
        except ImageError as error:
            return Outcome(number=number, state="failed", message=f"{error.found}. {error.fix}")
        except (MemoryError, torch.OutOfMemoryError):
            message = "more memory than there is. Shrink the image, or use fewer --workers."
            return Outcome(number=number, state="failed", message=message)
        return segmentation, photo


def _finished(number: int, writing: "Future[ResultSummary | KeptRow]") -> Outcome:
    """Wait until an image's results are written; a full disk stops the job, a bad name does not."""
    try:
        return Outcome(number=number, state="done", content=writing.result())
    except OutputError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in _BAD_NAME:
            raise
        fix = "Rename the image, or choose another folder with --out."
        return Outcome(number=number, state="failed", message=f"{error.found}. {fix}")
