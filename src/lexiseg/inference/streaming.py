"""Segment without end: images read ahead by threads, in order, with as many in memory as are worked on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.functional import cosine_similarity

from lexiseg.core.errors import ImageError, InputError
from lexiseg.core.segmentation import Segmentation
from lexiseg.data.images import load_image
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import ENCODE_BATCH, EncodedImage

Item = TypeVar("Item")


class Streaming:
    """What a ``Segmenter`` does with images without end."""

    def stream(
        self: Any,  # the Segmenter that this is a part of
        images: Iterable[Any],
        words: Any = None,
        *,
        batch_size: int = ENCODE_BATCH,
        workers: int = 2,
        on_error: Callable[[Any, ImageError], None] | None = None,
        **changes: Any,
    ) -> Iterator[Segmentation]:
        """Label any number of images, in their order, with ``2 * batch_size + workers`` of them in memory at most.

        Args:
            images: As for ``segment``, from a list, a generator, a camera.
            words: As for ``segment``.
            batch_size: How many are encoded at a time.
            workers: Threads that read images ahead; 0 reads each when it is its turn.
            on_error: Called with an image that cannot be read and its error; it is then passed over. None raises.
            changes: As for ``segment``.

        Raises:
            ImageError: An image cannot be read and there is no ``on_error``.
            VocabularyError: The words cannot be used.
            InputError: As for ``segment``, before the first image is read.
        """
        _refuse_counts(batch_size, workers)
        names = (
            words
            if isinstance(words, ClassNames)
            else self.name_classes(self.own_words() if words is None else words, self._settings(changes))
        )

        def segment(loaded: Iterator[Any]) -> Iterator[Segmentation]:
            return self.segment(loaded, names, batch_size=batch_size, **changes)

        how: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "on_error": on_error}
        return stream_results(images, segment, **how)


def read_ahead(items: Iterable[Item], workers: int, most: int) -> Iterator[tuple[Item, Any]]:
    """Read images on threads and give each with what it was read from, in order.

    Args:
        items: Images as ``load_image`` takes them; encoded ones are passed on.
        workers: Threads; 0 reads when the image is asked for.
        most: Images that are read or being read at a time.

    Returns:
        The item, and its pixels or the ``ImageError`` that reading it raised.
    """
    if workers == 0:
        yield from ((item, _read(item)) for item in items)
        return
    waiting: deque[tuple[Item, Future[Any]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append((item, pool.submit(_read, item)))
            if len(waiting) >= most:
                first, read = waiting.popleft()
                yield first, read.result()
        while waiting:
            first, read = waiting.popleft()
            yield first, read.result()
    finally:  # also where nobody asks for the rest
        pool.shutdown(cancel_futures=True)


def stream_results(
    images: Iterable[Any],
    segment: Callable[[Iterator[Any]], Iterator[Segmentation]],
    *,
    batch_size: int,
    workers: int,
    on_error: Callable[[Any, ImageError], None] | None,
) -> Iterator[Segmentation]:
    """Do what ``Segmenter.stream`` says; ``segment`` turns images that are read into results, in order."""
    items: deque[Any] = deque()

    def pixels() -> Iterator[Any]:
        for item, read in read_ahead(images, workers, batch_size + workers):
            if not isinstance(read, ImageError):
                items.append(item)
                yield read
            elif on_error is None:
                raise read
            else:
                on_error(item, read)

    for result in segment(pixels()):
        item = items.popleft()
        yield replace(result, source=Path(item)) if isinstance(item, str | Path) else result


class TimeAverage:
    """Averages the patch features of the frames of a video over time, patch by patch.

    A patch keeps ``weight`` of what it was before, times how much it resembles that (the cosine of the two), so that what
    moves or is cut leaves no trail. Labels are then decided as ever.

    Args:
        weight: Of the past, from 0 (none) to below 1.

    Raises:
        InputError: ``weight`` is out of range.
    """

    def __init__(self, weight: float) -> None:
        if not 0 <= weight < 1:
            raise InputError(
                doing="reading the options", found=f"a weight of the past of {weight!r}",
                expected="a number from 0 to below 1", fix="0.7 is a good beginning; leave it out for none.",
            )  # fmt: skip
        self.weight = weight
        self._past: EncodedImage | None = None

    @torch.inference_mode()
    def __call__(self, encoded: EncodedImage) -> EncodedImage:
        """Return a frame with averaged features; the first, and one of another size, stay as they are.

        Raises:
            InputError: The model's features are not patches alone: proposals or segments of two frames do not correspond.
        """
        if any(
            each.proposals is not None or each.segments is not None or each.levels
            for each in encoded.features
        ):
            raise InputError(
                doing=f"averaging frames with {encoded.model}", found="a model that proposes regions in each frame anew",
                expected="one that describes patches: mini, a CLIP, DINO features", fix="Leave --smooth out.",
            )  # fmt: skip
        past = self._past
        if (
            past is not None
            and self.weight
            and [f.grid for f in past.features] == [f.grid for f in encoded.features]
        ):
            mixed = []
            for old, new in zip(past.features, encoded.features, strict=True):
                alike = cosine_similarity(old.tokens, new.tokens, dim=-1).clamp(0, 1)[..., None]
                mixed.append(replace(new, tokens=torch.lerp(new.tokens, old.tokens, self.weight * alike)))
            encoded = replace(encoded, features=tuple(mixed))
        self._past = encoded
        return encoded


def _refuse_counts(batch_size: int, workers: int) -> None:
    """Refuse counts that cannot be.

    Raises:
        InputError: There is less than one image a batch, or a negative number of workers.
    """
    are_counts = isinstance(batch_size, int) and isinstance(workers, int)
    if not are_counts or batch_size < 1 or workers < 0:
        raise InputError(
            doing="segmenting a stream of images",
            found=f"batch_size = {batch_size!r}, workers = {workers!r}",
            expected="one image a batch or more, and no or more workers",
            fix="Leave them out for 8 and 2.",
        )


def _read(item: Any) -> Any:
    if isinstance(item, EncodedImage):
        return item
    try:
        return load_image(item)
    except ImageError as error:
        return error
