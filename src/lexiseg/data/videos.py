"""Videos and cameras, frame by frame, through PyAV: in as upright RGB with their times, out as mp4 with the same times."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lexiseg.core.atomic_write import atomic_path, output_error
from lexiseg.core.errors import ImageError, InputError, MissingPackageError

#: Containers that may be read: others are lists of other files and addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "ogg", "flv", "asf", "gif",
)  # fmt: skip
#: Of which format, and how named, the cameras of a system are.
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none")}
#: Ticks a second of what is written: times of any rate fall on it closely.
_TICKS = 90_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        index: Its number among all frames of the video, from 0.
        seconds: When it is shown; does not go by the index where the frame rate varies.
        image: RGB, 0..255, turned upright.
    """

    index: int
    seconds: float
    image: UInt8[np.ndarray, "H W 3"]


def read_video(source: str | Path | int, every: int = 1) -> Iterator[Frame]:
    """Read frames of a video file or a camera, one at a time.

    Args:
        source: A file, or the number of a camera.
        every: Of so many frames, the first is given.

    Raises:
        ImageError: It cannot be opened, has no picture, or is damaged: after the frames before that.
        InputError: Cameras of this system have no numbers, or ``every`` is below 1.
        MissingPackageError: PyAV is not installed.
    """
    av = av_package()
    if every < 1:
        raise InputError(
            doing="reading a video", found=f"every = {every}", expected="1 or more", fix="Leave it out for every frame."
        )  # fmt: skip
    doing = f"reading {'camera ' if isinstance(source, int) else ''}{source}"
    with _opened(av, source, doing) as container:
        if not container.streams.video:
            raise ImageError(
                doing=doing, found="no pictures in it", expected="a video", fix="Check that it is not sound only.",
            )  # fmt: skip
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ImageError(
                doing=doing, found="pictures in a coding that is not known", expected="a video such as H.264 or VP9",
                fix="Save it again as mp4; or copy it again from its source, where it was one.",
            )  # fmt: skip
        stream.thread_type = "AUTO"
        last, first_time, num_frames = -1.0, None, 0
        try:
            for index, frame in enumerate(_decoded(av, container, stream)):
                num_frames = index + 1
                found = frame.time if frame.time is not None else last + 1 / 25
                first_time = found if first_time is None else first_time
                seconds = max(float(found) - first_time, last + 1 / _TICKS)  # some files go back in time
                last = seconds
                if index % every:
                    continue
                _refuse_large(frame, doing)
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(frame.rotation / 90) % 4
                upright = np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
                yield Frame(index=index, seconds=seconds, image=upright)
        except (av.error.FFmpegError, ValueError) as error:
            raise ImageError(
                doing=doing, found=f"a damaged or incomplete video: {error}", expected="a whole one",
                fix="Copy it again from its source; the frames before that are read.",
            ) from error  # fmt: skip
        # Other containers do not count their frames, or count the slots of a steady rate.
        num_stated = stream.frames if "mp4" in container.format.name else 0
        if last < 0 or num_frames < num_stated:
            raise ImageError(
                doing=doing, found=f"{num_frames:,} frames of the {num_stated or 'one'} that it says it has",
                expected="a whole video", fix="Copy it again from its source; the frames that are there are read.",
            )  # fmt: skip


@dataclass(kw_only=True, eq=False)
class VideoWriter:
    """Writes frames of one size, each at its time; ``written_video`` makes it."""

    _container: Any
    _stream: Any
    _av: Any
    _size: tuple[int, int]

    def write(self, image: UInt8[np.ndarray, "H W 3"], seconds: float) -> None:
        """Add a frame.

        Raises:
            ImageError: It has another size than the first.
        """
        if self._size == (0, 0):
            self._size = image.shape[0], image.shape[1]
            # Colours are kept for squares of four pixels: sides are even.
            self._stream.height, self._stream.width = (side + side % 2 for side in self._size)
        if image.shape[:2] != self._size:
            raise ImageError(
                doing="writing a video",
                found=f"a frame of {image.shape[0]}×{image.shape[1]} after frames of {self._size[0]}×{self._size[1]}",
                expected="frames of one size",
                fix="Cut the video where its size changes.",
            )
        pad = ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0))
        frame = self._av.VideoFrame.from_ndarray(np.pad(image, pad, mode="edge"), format="rgb24")
        frame.pts, frame.time_base = round(seconds * _TICKS), Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))


@contextmanager
def written_video(path: Path) -> Iterator[VideoWriter]:
    """Write an mp4 (H.264) whose frames keep their times; whole or not at all.

    Raises:
        OutputError: The folder cannot be written.
        MissingPackageError: PyAV is not installed.
    """
    av = av_package()
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4") as container:
                codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
                stream = container.add_stream(codec, rate=30)
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1, _TICKS)
                writer = VideoWriter(_container=container, _stream=stream, _av=av, _size=(0, 0))
                yield writer
                if writer._size != (0, 0):
                    container.mux(stream.encode())
        except av.error.FFmpegError as error:
            raise output_error(path, OSError(str(error))) from error


def av_package() -> Any:
    """Import PyAV.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import av
        import av.error
    except ImportError as error:
        raise MissingPackageError.of("av", doing="reading videos", extra="video") from error
    av.logging.set_level(None)
    return av


@contextmanager
def _opened(av: Any, source: str | Path | int, doing: str) -> Iterator[Any]:
    if isinstance(source, int):
        if sys.platform not in _CAMERAS:
            raise InputError(
                doing=doing, found=f"cameras without numbers on {sys.platform}", expected="Linux or macOS",
                fix="Record the camera to a file first.",
            )  # fmt: skip
        kind, name = _CAMERAS[sys.platform]
        place, how = name.format(source), dict[str, Any](format=kind)
    else:
        if not os.path.isfile(source):
            raise ImageError(
                doing=doing, found="a folder" if os.path.isdir(source) else "no file there",
                expected="a video file, or the number of a camera", fix="Check the path.",
            )  # fmt: skip
        place = os.fspath(source)
        how = {"options": {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}}
    try:
        container = av.open(place if isinstance(source, int) else f"file:{place}", **how)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ImageError(
            doing=doing, found=f"nothing that can be opened as a video: {error}",
            expected="a video file such as mp4, mkv, webm or avi, or the number of a camera",
            fix="Play it in a player; if it plays there, save it again as mp4.",
        ) from error  # fmt: skip
    with container:
        yield container


def _decoded(av: Any, container: Any, stream: Any) -> Iterator[Any]:
    """Decode a stream; where it is damaged, the frames before that come first, which the decoder may hold back."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            with suppress(av.error.FFmpegError):
                yield from stream.codec_context.decode(None)
            raise


def _refuse_large(frame: Any, doing: str) -> None:
    most = 2 * (Image.MAX_IMAGE_PIXELS or 1 << 27)
    if math.prod((frame.width, frame.height)) > most:
        raise ImageError(
            doing=doing, found=f"frames of {frame.width:,}×{frame.height:,}", expected=f"at most {most:,} pixels",
            fix="Make it smaller first.",
        )  # fmt: skip
