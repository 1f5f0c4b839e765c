"""The one way from patch features to a label map: windows, one resize, class chunks.

Class scores are resized bilinearly (half-pixel centres) to the image's own size and compared
there; the label map is never resized. Scores of the whole vocabulary at full size never exist:
classes are taken in chunks and, with windows, rows in bands, so that memory does not grow with
the vocabulary.

An image seen whole is resized once, from the grid. Windows are resized to the image that the model
saw, blended there, and resized again, as mmsegmentation does (which does it for one window too).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures, Segments
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.resize import RunningBest, resize_argmax, source_rows
from lexiseg.ops.sliding_window import Window, stitch_band, windows

#: Images encoded in one call; more gains nothing on a CPU and costs memory.
ENCODE_BATCH = 8

#: Rows of stitched windows worked on at once, at least.
MIN_BAND_ROWS = 64

Encode = Callable[..., PatchFeatures]
Score = Callable[[PatchFeatures, Float[Tensor, "S D"]], Float[Tensor, "B S h w"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedImage:
    """An image and its patch features: encode once, ask many words.

    Attributes:
        image: RGB, ``H W 3``, 0..255, at its original size.
        resized_size: ``(height, width)`` that was encoded.
        windows: Where each window lies in the resized image; one that covers it all without windows.
        features: Features of each window, batch size one.
        settings: What it was encoded with.
        model: Name of the model whose features these are.
        source: File the image came from, if any.
        regions: Regions that the image was cut into before it was encoded, at its own size, 0 for none; None where the
            method needs none.
    """

    image: UInt8[np.ndarray, "H W 3"] = field(repr=False)
    resized_size: tuple[int, int]
    windows: tuple[Window, ...] = field(repr=False)
    features: tuple[PatchFeatures, ...] = field(repr=False)
    settings: InferenceSettings
    model: str
    source: Path | None = None
    regions: Int32[np.ndarray, "H W"] | None = field(default=None, repr=False)


@torch.inference_mode()
def encode_images(
    encode: Encode,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    sources: Sequence[Path | None],
    *,
    model: str,
    stride: int,
    settings: InferenceSettings,
    device: torch.device,
    regions: Sequence[Int32[np.ndarray, "_ _"]] | None = None,
) -> list[EncodedImage]:
    """Resize, cut into windows and encode images; crops of equal size share a batch.

    Where there are ``regions``, one map an image at its own size, they are resized (nearest) and cut as the images
    are, and ``encode`` gets those of its crops as a second argument, ``B H W``.
    """
    plans = []
    for image in images:
        size = fitted_size(
            image.shape[:2],
            short_side=settings.short_side,
            max_long_side=settings.max_long_side,
            squash=not settings.keep_aspect,
            multiple_of=stride,
        )
        plans.append((resize_image(image, size), _layout(size, stride, settings)))
    seen_regions = None
    if regions is not None:
        seen_regions = [
            _resize_regions(each, (pixels.shape[1], pixels.shape[2]))
            for each, (pixels, _) in zip(regions, plans, strict=True)
        ]
    crops = [
        (pixels[:, w.top : w.top + w.height, w.left : w.left + w.width], index, w)
        for index, (pixels, layout) in enumerate(plans)
        for w in layout
    ]
    features: list[list[PatchFeatures]] = [[] for _ in images]
    crops.sort(key=lambda crop: crop[0].shape)  # keeps the order of one image's windows: they are alike
    for _, same_size in groupby(crops, key=lambda crop: crop[0].shape):
        for batch in _batches(list(same_size), ENCODE_BATCH):
            more = []
            if seen_regions is not None:
                cuts = [
                    seen_regions[index][w.top : w.top + w.height, w.left : w.left + w.width]
                    for _, index, w in batch
                ]
                more.append(torch.stack(cuts).to(device))
            encoded = encode(torch.stack([pixels for pixels, _, _ in batch]).to(device), *more)
            for (_, index, _), single in zip(batch, _unbatched(encoded), strict=True):
                features[index].append(single)
    return [
        EncodedImage(
            image=image,
            resized_size=(int(pixels.shape[1]), int(pixels.shape[2])),
            windows=tuple(layout),
            features=tuple(found),
            settings=settings,
            model=model,
            source=source,
            regions=None if regions is None else regions[number],
        )
        for number, (image, source, (pixels, layout), found) in enumerate(
            zip(images, sources, plans, features, strict=True)
        )
    ]


@torch.inference_mode()
def best_classes(
    encoded: EncodedImage,
    score: Score,
    embeddings: Float[Tensor, "S D"],
    names_per_class: Sequence[int],
    *,
    settings: InferenceSettings,
    independent_classes: bool = True,
) -> RunningBest:
    """Find the best class of every pixel at the image's original size.

    Args:
        encoded: The image's features.
        score: The method's ``class_scores``.
        embeddings: One row a name; the names of a class are neighbours.
        names_per_class: How many rows each class has, in label order.
        settings: Blend, reduction over names, memory.
        independent_classes: Scores may be computed for a part of the names at a time.
    """
    size = (encoded.image.shape[0], encoded.image.shape[1])
    best = RunningBest.empty(size)
    joint = None if independent_classes else window_scores(encoded, score, embeddings)
    for classes, names in chunks(names_per_class, _names_per_chunk(encoded, settings)):
        found = (
            window_scores(encoded, score, embeddings[names])
            if joint is None
            else [scores[names] for scores in joint]
        )
        found = [over_names(scores, names_per_class[classes], settings.synonyms) for scores in found]
        if len(found) == 1:
            resize_argmax(found[0], size, class_offset=classes.start, into=best)
            continue
        for rows in _row_bands(encoded, found[0].shape[0], settings):
            first, stop = source_rows(encoded.resized_size[0], size[0], rows)
            stitched = stitch_band(
                found, encoded.windows, encoded.resized_size, (first, stop), blend=settings.blend
            )
            view = RunningBest(labels=best.labels[slice(*rows)], best=best.best[slice(*rows)])
            source = (first, encoded.resized_size[0])
            resize_argmax(
                stitched.cpu(), size, class_offset=classes.start, into=view, rows=rows, source=source
            )
    return best


@torch.inference_mode()
def grid_scores(
    encoded: EncodedImage,
    score: Score,
    embeddings: Float[Tensor, "S D"],
    names_per_class: Sequence[int],
    classes: Sequence[int] | None = None,
    *,
    settings: InferenceSettings,
    independent_classes: bool = True,
) -> Float[Tensor, "C h w"]:
    """Score some classes on the encoder's grid over the whole image, windows blended.

    Args:
        encoded: The image's features.
        score: The method's ``class_scores``.
        embeddings: One row a name of the whole vocabulary.
        names_per_class: How many rows each class has, in label order.
        classes: Classes to score, by their place, in the order wanted; all if left out.
        settings: Blend and reduction over names.
        independent_classes: Scores may be computed for a part of the names at a time.
    """
    classes = range(len(names_per_class)) if classes is None else classes
    starts = np.concatenate([[0], np.cumsum(names_per_class)])
    rows = torch.as_tensor(np.concatenate([np.arange(starts[k], starts[k + 1]) for k in classes]))
    if independent_classes:
        found = window_scores(encoded, score, embeddings[rows.to(embeddings.device)])
    else:
        found = [scores[rows.to(scores.device)] for scores in window_scores(encoded, score, embeddings)]
    counts = [names_per_class[k] for k in classes]
    found = [over_names(scores, counts, settings.synonyms) for scores in found]
    if len(found) == 1:
        return found[0]
    stride = encoded.features[0].stride
    bands = [
        stitch_band(found, encoded.windows, encoded.resized_size, (top, top + stride), blend=settings.blend)
        for top in range(0, encoded.resized_size[0], stride)
    ]
    return torch.cat([avg_pool2d(band, stride) for band in bands], dim=1)


def _layout(size: tuple[int, int], stride: int, settings: InferenceSettings) -> tuple[Window, ...]:
    if settings.window is None:
        return (Window(top=0, left=0, height=size[0], width=size[1]),)
    if settings.window % stride:
        raise InputError(
            doing="cutting an image into windows",
            found=f"windows of {settings.window} pixels",
            expected=f"a multiple of the model's stride, {stride} pixels",
            fix=f"Use --window {max(1, round(settings.window / stride)) * stride}.",
        )
    return windows(size, settings.window, settings.window_stride or max(stride, settings.window // 2))


def window_scores(
    encoded: EncodedImage, score: Score, embeddings: Float[Tensor, "S D"]
) -> list[Float[Tensor, "S _ _"]]:
    """Score names on the grid of every window."""
    return [score(features, embeddings)[0] for features in encoded.features]


def over_names(
    scores: Float[Tensor, "S h w"], names_per_class: Sequence[int], reduction: str
) -> Float[Tensor, "K h w"]:
    """Reduce the scores of each class's names to one."""
    if all(count == 1 for count in names_per_class):
        return scores
    reduce = torch.amax if reduction == "max" else torch.mean
    return torch.stack([reduce(part, dim=0) for part in torch.split(scores, list(names_per_class))])


def _names_per_chunk(encoded: EncodedImage, settings: InferenceSettings) -> int:
    cells = sum(features.tokens.shape[1] for features in encoded.features)
    if len(encoded.windows) > 1:
        # Room for bands of some rows: in bands of one, neighbouring rows would be stitched again and again.
        cells = max(cells, MIN_BAND_ROWS * encoded.resized_size[1])
    return max(1, settings.memory_mb * 2**20 // (4 * 3 * cells))  # scores, and copies on the way


def chunks(names_per_class: Sequence[int], max_names: int) -> Iterator[tuple[slice, slice]]:
    """Cut the vocabulary into runs of classes with at most ``max_names`` names (one class at least)."""
    start_class = start_name = name = 0
    for label, count in enumerate(names_per_class):
        if name + count - start_name > max_names and label > start_class:
            yield slice(start_class, label), slice(start_name, name)
            start_class, start_name = label, name
        name += count
    yield slice(start_class, len(names_per_class)), slice(start_name, name)


def _row_bands(
    encoded: EncodedImage, num_classes: int, settings: InferenceSettings
) -> Iterator[tuple[int, int]]:
    """Cut the output rows so that the stitched scores of one band fit the working memory."""
    height = encoded.image.shape[0]
    resized_height, resized_width = encoded.resized_size
    bytes_per_row = 4 * 3 * num_classes * resized_width * max(1.0, resized_height / height)
    step = max(1, int(settings.memory_mb * 2**20 / bytes_per_row))
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _resize_regions(regions: Int32[np.ndarray, "_ _"], size: tuple[int, int]) -> Int32[Tensor, "_ _"]:
    """Take the region under the centre of every pixel of the new size."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(size, regions.shape, strict=True)
    )
    return torch.from_numpy(regions[rows[:, None], columns[None]])


def _batches(
    crops: list[tuple[Tensor, int, Window]], size: int
) -> Iterator[list[tuple[Tensor, int, Window]]]:
    for start in range(0, len(crops), size):
        yield crops[start : start + size]


def _unbatched(features: PatchFeatures) -> Iterator[PatchFeatures]:
    for index in range(features.tokens.shape[0]):
        one = slice(index, index + 1)
        token, segments, levels = features.global_token, features.segments, features.levels
        yield PatchFeatures(
            tokens=features.tokens[one],
            grid=features.grid,
            stride=features.stride,
            global_token=None if token is None else token[one],
            segments=None
            if segments is None
            else Segments(shares=segments.shares[one], embeddings=segments.embeddings[one]),
            levels=None if levels is None else tuple(level[one] for level in levels),
        )
