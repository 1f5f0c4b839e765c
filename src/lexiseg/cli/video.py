"""``lexiseg video``: a video or a camera and words in, an overlay video and the results of each frame out."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.cli.options import (
    ClassesFile,
    Device,
    Licence,
    MethodChanges,
    ModelName,
    Trust,
    load_segmenter,
    option,
    read_words_if_given,
)
from lexiseg.cli.progress import progress
from lexiseg.cli.result_folder import claimed
from lexiseg.core.errors import ImageError, InputError
from lexiseg.core.terminal import open_console
from lexiseg.core.whole_numbers import whole_number

if TYPE_CHECKING:
    from lexiseg.core.segmentation import Segmentation
    from lexiseg.data.videos import Frame

#: Classes of the legend, which is the same in all frames.
_MOST_IN_LEGEND = 16


@dataclass(frozen=True, kw_only=True)
class SegmentVideo:
    """Segment the frames of a video or a camera by words.

    Writes STEM.overlay.mp4, whose frames keep their times, STEM.frames.json with the shares of the classes in each frame,
    and for each frame what lexiseg segment writes, in the folder STEM. A run that was stopped begins again: a frame's labels
    may depend on those before. Ctrl-C ends a camera well.
    """

    source: tyro.conf.Positional[
        Annotated[str, tyro.conf.arg(metavar="VIDEO", help="A video file, or the number of a camera: 0.")]
    ]
    words: Annotated[
        str | None,
        option(
            "WORDS",
            'Class names separated by commas: "cat, grass, sky". May be left out for a model with classes of its own.',
        ),
    ] = None
    classes_file: ClassesFile = None
    model: ModelName = "mini"
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="Where results go.")] = Path("segmented")
    overwrite: Annotated[
        bool,
        tyro.conf.arg(
            help="Replace results that are already there, also those of other words.", help_behavior_hint=""
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    device: Device = "auto"
    every: Annotated[int, tyro.conf.arg(metavar="N", help="Of so many frames, segment the first.")] = 1
    most: Annotated[int | None, option("N", "Stop after so many segmented frames.")] = None
    smooth: Annotated[
        float,
        tyro.conf.arg(
            metavar="WEIGHT",
            help="Average over time, so that labels flicker less: weight of the past, from 0 (none) to below 1. What moves "
            "or is cut keeps less of it.",
        ),
    ] = 0.0
    overlay_only: Annotated[
        bool,
        tyro.conf.arg(help="Write no results of single frames.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def run(self) -> int:
        """Segment every frame; return the exit code."""
        from lexiseg.data.videos import av_package, written_video
        from lexiseg.inference.streaming import TimeAverage

        av_package()
        if self.every < 1 or (self.most is not None and self.most < 1):
            raise InputError(
                doing="reading the options", found=f"--every {self.every}, --most {self.most}", expected="1 or more",
                fix="Leave them out for all frames.",
            )  # fmt: skip
        average = TimeAverage(self.smooth)
        asked = read_words_if_given(self.words, self.classes_file)
        # A file may have a number for a name.
        camera = None if os.path.exists(self.source) else whole_number(self.source)
        source = self.source if camera is None else camera
        if not isinstance(source, int) and not os.path.isfile(source):
            raise ImageError(
                doing=f"reading {source}", found="no video file there", expected="a video file, or the number of a camera",
                fix="Check the path.",
            )  # fmt: skip
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        vocabulary = segmenter.own_words() if asked is None else asked
        changes = self.inference.changes()
        request = segmenter.describe(vocabulary, **changes)
        request["settings"] |= {"every": self.every, "smooth": self.smooth}
        names = segmenter.name_classes(vocabulary, segmenter.settings.changed(**changes))
        stem = f"camera-{source}" if isinstance(source, int) else Path(source).stem
        frames: list[dict[str, Any]] = []
        problem = ""
        with ExitStack() as stack:
            stack.enter_context(claimed(self.out, request, list, overwrite=self.overwrite))
            (self.out / f"{stem}.frames.json").unlink(
                missing_ok=True
            )  # facts of other frames must not outlive them
            writer = stack.enter_context(written_video(self.out / f"{stem}.overlay.mp4"))
            advance = stack.enter_context(progress("segmenting", 0, None))
            try:
                for frame in self._frames(source):
                    encoded = average(segmenter.encode(frame.image, **_encoding(changes)))
                    result = segmenter.segment(encoded, names, **changes)
                    writer.write(overlay(result), frame.seconds)
                    if not self.overlay_only:
                        result.save(self.out / stem, f"{frame.index:06d}")
                    shares = {share.name: round(share.share, 6) for share in result.shares()}
                    frames.append(
                        {"frame": frame.index, "seconds": round(frame.seconds, 6), "shares": shares}
                    )
                    advance()
            except ImageError as error:
                if not frames:
                    raise
                problem = f"{error.found}. {error.fix}"
            except KeyboardInterrupt:
                if not isinstance(source, int) or not frames:
                    raise
        self._write_facts(stem, source, request, frames)
        console = open_console()
        plain: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
        console.print(f"{len(frames)} frames segmented; {self.out / f'{stem}.overlay.mp4'}", **plain)
        if problem:
            console.print(f"  failed after frame {frames[-1]['frame']}: {problem}", style="red", **plain)
        return 1 if problem else 0

    def _frames(self, source: str | int) -> Iterator["Frame"]:
        from lexiseg.data.videos import read_video

        for count, frame in enumerate(read_video(source, self.every), 1):
            yield frame
            if count == self.most:
                return

    def _write_facts(
        self, stem: str, source: str | int, request: dict[str, Any], frames: list[dict[str, Any]]
    ) -> None:
        from lexiseg.core.atomic_write import atomic_path

        with atomic_path(self.out / f"{stem}.frames.json") as temporary:
            facts = {"video": source, **request, "frames": frames}
            text = json.dumps(facts, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def overlay(result: "Segmentation") -> Any:
    """Draw a frame's labels over it, with a legend that is the same in all frames; return ``H W 3`` uint8."""
    import numpy as np

    from lexiseg.core.drawing import draw_overlay

    names = result.vocabulary.names
    entries = list(enumerate(names[:_MOST_IN_LEGEND]))
    drawn = draw_overlay(
        result.image, result.label_map, len(names), entries, opacity=0.5, hatched=result.unknown
    )
    return np.asarray(drawn.convert("RGB"))


def _encoding(changes: dict[str, Any]) -> dict[str, Any]:
    from lexiseg.inference.settings import ENCODING_FIELDS

    return {name: value for name, value in changes.items() if name in ENCODING_FIELDS}
