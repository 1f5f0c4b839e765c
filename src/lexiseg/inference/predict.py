"""The one way from patch features to a label map: windows, one resize, class chunks.

Class scores are resized bilinearly (half-pixel centres) to the image's own size and compared
there; the label map is never resized. Scores of the whole vocabulary at full size never exist:
classes are taken in chunks and, with windows, rows in bands, so that memory does not grow with
the vocabulary.

An image seen whole is resized once, from the grid, unless the method has its own way from the grid to the pixels
that the model saw (``Upsample``); these are then resized as windows are. Windows are resized to the image that the model
saw, blended there, and resized again, as mmsegmentation does (which does it for one window too).
What an image that is much larger than the model's size is seen through stands in ``inference.tiles``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures, Proposals, Segments
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.tiles import View, describe_tiles, placed_in, tiled_view
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_rows, source_rows
from lexiseg.ops.sliding_window import Window, WindowWeights, blend_band, even_weights, stitch_band, windows

#: Images encoded in one call; more gains nothing on a CPU and costs memory.
ENCODE_BATCH = 8

#: Rows of stitched windows worked on at once, at least.
MIN_BAND_ROWS = 64

Encode = Callable[..., PatchFeatures]
Score = Callable[[PatchFeatures, Float[Tensor, "S D"]], Float[Tensor, "B S h w"]]

#: Features of one window, one row of embeddings a name, size of the window in pixels, and rows of it: first, and the
#: one after the last. Gives scores of these pixels where they are more than resized scores of the grid.
Upsample = Callable[
    [PatchFeatures, Float[Tensor, "S D"], tuple[int, int], tuple[int, int]], Float[Tensor, "S _ _"]
]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedImage:
    """An image and its patch features: encode once, ask many words.

    Attributes:
        image: RGB, ``H W 3``, 0..255, at its original size.
        resized_size: ``(height, width)`` that was encoded; the largest, where there are several.
        windows: Where each window lies in the resized image; one that covers it all without windows.
        features: Features of each window, batch size one.
        settings: What it was encoded with.
        model: Name of the model whose features these are.
        source: File the image came from, if any.
        regions: Regions that the image was cut into before it was encoded, at its own size, 0 for none; None where the
            method needs none.
        weights: Of each window, for a tiled image; empty where ``settings.blend`` decides.
        tiling: What a record says of a tiled image; None for one that is not.
        num_whole: How many of the first windows are the view of a tiled image as a whole.
    """

    image: UInt8[np.ndarray, "H W 3"] = field(repr=False)
    resized_size: tuple[int, int]
    windows: tuple[Window, ...] = field(repr=False)
    features: tuple[PatchFeatures, ...] = field(repr=False)
    settings: InferenceSettings
    model: str
    source: Path | None = None
    regions: Int32[np.ndarray, "H W"] | None = field(default=None, repr=False)
    weights: tuple[WindowWeights, ...] = field(default=(), repr=False)
    tiling: Mapping[str, Any] | None = None
    num_whole: int = 0


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
    dtype: torch.dtype = torch.float32,
    regions: Sequence[Int32[np.ndarray, "_ _"]] | None = None,
) -> list[EncodedImage]:
    """Resize, cut into windows and encode images; crops of equal size share a batch.

    Where there are ``regions``, one map an image at its own size, they are resized (nearest) and cut as the images
    are, and ``encode`` gets those of its crops as a second argument, ``B H W``.
    """
    plans = [_views(image.shape[:2], stride, settings) for image in images]
    features: list[list[PatchFeatures]] = [[] for _ in images]
    crops = [
        (window.height, window.width, index, view, window)
        for index, views in enumerate(plans)
        for view in views
        for window in view.windows
    ]
    order = sorted(
        range(len(crops)), key=lambda place: crops[place][:2]
    )  # keeps the order of one view's windows
    resized: dict[tuple[int, tuple[int, int]], Tensor] = {}
    found: dict[int, PatchFeatures] = {}
    for _, same_size in groupby(order, key=lambda place: crops[place][:2]):
        for batch in _batches(list(same_size), ENCODE_BATCH):
            pieces, cuts = [], []
            for place in batch:
                _, _, index, view, window = crops[place]
                if (index, view.size) not in resized:
                    resized[index, view.size] = resize_image(images[index], view.size)
                pixels = resized[index, view.size]
                rows = slice(window.top, window.top + window.height)
                columns = slice(window.left, window.left + window.width)
                pieces.append(pixels[:, rows, columns])
                if regions is not None:
                    cuts.append(_resize_regions(regions[index], view.size)[rows, columns])
            with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
                more = [torch.stack(cuts).to(device)] if cuts else []
                encoded = in_float32(encode(torch.stack(pieces).to(device), *more))
            found |= zip(batch, _unbatched(encoded), strict=True)
    for place, crop in enumerate(crops):
        features[crop[2]].append(found[place])
    results = []
    for number, (image, source, views, of_image) in enumerate(
        zip(images, sources, plans, features, strict=True)
    ):
        whole, size = views[0], views[-1].size
        placed = [placed_in(view, size) for view in views]
        is_tiled = len(views) > 1
        results.append(
            EncodedImage(
                image=image,
                resized_size=size,
                windows=tuple(window for view in placed for window in view),
                features=tuple(of_image),
                settings=settings,
                model=model,
                source=source,
                weights=tuple(each for view in placed for each in even_weights(view, size))
                if is_tiled
                else (),
                tiling=describe_tiles(image.shape[:2], whole.size, views[-1]) if is_tiled else None,
                num_whole=len(whole.windows) if is_tiled else 0,
                regions=None if regions is None else regions[number],
            )
        )
    return results


@torch.inference_mode()
def best_classes(
    encoded: EncodedImage,
    score: Score,
    embeddings: Float[Tensor, "S D"],
    names_per_class: Sequence[int],
    *,
    settings: InferenceSettings,
    independent_classes: bool = True,
    upsample: Upsample | None = None,
) -> RunningBest:
    """Find the best class of every pixel at the image's original size.

    Args:
        encoded: The image's features.
        score: The method's ``class_scores``.
        embeddings: One row a name; the names of a class are neighbours.
        names_per_class: How many rows each class has, in label order.
        settings: Blend, reduction over names, memory.
        independent_classes: Scores may be computed for a part of the names at a time.
        upsample: The method's own way from features to scores of pixels, if it has one; ``score`` is not asked then.
    """
    size = (encoded.image.shape[0], encoded.image.shape[1])
    best = RunningBest.empty(size)
    if upsample is not None:
        assert independent_classes, "own upsampling is asked for some names at a time"
        for classes, names in chunks(names_per_class, names_per_chunk(encoded, settings)):
            band = partial(
                upsampled_scores, encoded, upsample, embeddings[names], names_per_class[classes], settings
            )
            # Whatever is upsampled beside the names: as many maps as a token has numbers.
            maps = names.stop - names.start + encoded.features[0].tokens.shape[2]
            _best_in_bands(band, encoded, maps, settings, classes.start, best)
        return best
    joint = None if independent_classes else window_scores(encoded, score, embeddings)
    for classes, names in chunks(names_per_class, names_per_chunk(encoded, settings)):
        found = (
            window_scores(encoded, score, embeddings[names])
            if joint is None
            else [scores[names] for scores in joint]
        )
        found = [over_names(scores, names_per_class[classes], settings.synonyms) for scores in found]
        if len(found) == 1:
            resize_argmax(found[0], size, class_offset=classes.start, into=best)
            continue
        band = partial(
            stitch_band,
            found,
            encoded.windows,
            encoded.resized_size,
            blend=settings.blend,
            weights=encoded.weights,
        )
        _best_in_bands(band, encoded, found[0].shape[0], settings, classes.start, best)
    return best


def pixel_scores(
    encoded: EncodedImage,
    rows: tuple[int, int],
    *,
    score: Score,
    embeddings: Float[Tensor, "S D"],
    names_per_class: Sequence[int],
    settings: InferenceSettings,
    upsample: Upsample | None,
) -> Float[Tensor, "K _ _"]:
    """Score all classes at the pixels of some rows of the image at its original size.

    Memory grows with the rows and the classes: ``best_classes`` is for whole images. Arguments are its own.
    """
    if upsample is not None:
        band = partial(upsampled_scores, encoded, upsample, embeddings, names_per_class, settings)
    else:
        found = [
            over_names(scores, names_per_class, settings.synonyms)
            for scores in window_scores(encoded, score, embeddings)
        ]
        band = partial(
            stitch_band,
            found,
            encoded.windows,
            encoded.resized_size,
            blend=settings.blend,
            weights=encoded.weights,
        )
    height = encoded.resized_size[0]
    first, stop = source_rows(height, encoded.image.shape[0], rows)
    size = (encoded.image.shape[0], encoded.image.shape[1])
    return resize_rows(band((first, stop)), size, rows, source=(first, height))


def _best_in_bands(
    band: Callable[[tuple[int, int]], Float[Tensor, "C _ _"]],
    encoded: EncodedImage,
    num_maps: int,
    settings: InferenceSettings,
    class_offset: int,
    best: RunningBest,
) -> None:
    """Resize scores of the image that the model saw to the original size, some rows at a time; take the best.

    Args:
        band: Gives the scores of some rows of the image that the model saw.
        encoded: The image.
        num_maps: Maps of those rows that are in memory at a time.
        settings: Working memory.
        class_offset: Label of the first class.
        best: Is updated.
    """
    size = (encoded.image.shape[0], encoded.image.shape[1])
    for rows in _row_bands(encoded, num_maps, settings):
        first, stop = source_rows(encoded.resized_size[0], size[0], rows)
        view = RunningBest(labels=best.labels[slice(*rows)], best=best.best[slice(*rows)])
        resize_argmax(
            band((first, stop)).cpu(),
            size,
            class_offset=class_offset,
            into=view,
            rows=rows,
            source=(first, encoded.resized_size[0]),
        )


def upsampled_scores(
    encoded: EncodedImage,
    upsample: Upsample,
    embeddings: Float[Tensor, "S D"],
    names_per_class: Sequence[int],
    settings: InferenceSettings,
    rows: tuple[int, int],
) -> Float[Tensor, "K _ _"]:
    """Score classes at the pixels of some rows of the image that the model saw, windows blended."""

    def of_window(index: int, inside: tuple[int, int]) -> Float[Tensor, "K _ _"]:
        window = encoded.windows[index]
        found = upsample(encoded.features[index], embeddings, (window.height, window.width), inside)
        return over_names(found, names_per_class, settings.synonyms)

    return blend_band(
        of_window,
        encoded.windows,
        encoded.resized_size,
        rows,
        blend=settings.blend,
        weights=encoded.weights,
    )


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
        stitch_band(
            found,
            encoded.windows,
            encoded.resized_size,
            (top, top + stride),
            blend=settings.blend,
            weights=encoded.weights,
        )
        for top in range(0, encoded.resized_size[0], stride)
    ]
    return torch.cat([avg_pool2d(band, stride) for band in bands], dim=1)


def _views(image_size: tuple[int, int], stride: int, settings: InferenceSettings) -> list[View]:
    """Return how an image is seen: whole, and in tiles where it is large."""
    size = fitted_size(
        image_size,
        short_side=settings.short_side,
        max_long_side=settings.max_long_side,
        squash=not settings.keep_aspect,
        multiple_of=stride,
    )
    whole = View(size=size, windows=_layout(size, stride, settings))
    tiles = tiled_view(image_size, size, stride, settings)
    return [whole] if tiles is None else [whole, tiles]


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


def names_per_chunk(encoded: EncodedImage, settings: InferenceSettings) -> int:
    """Return how many names may be scored at a time within the working memory."""
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


def _batches(places: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def in_float32(features: PatchFeatures) -> PatchFeatures:
    """Return features in the precision in which they are compared."""
    if features.tokens.dtype is torch.float32:
        return features
    segments = features.segments
    if segments is not None:
        segments = Segments(shares=segments.shares.float(), embeddings=segments.embeddings.float())
    token, proposals = features.global_token, features.proposals
    return replace(
        features,
        tokens=features.tokens.float(),
        proposals=None if proposals is None else Proposals(classes=proposals.classes.float()),
        global_token=None if token is None else token.float(),
        segments=segments,
        levels=None if features.levels is None else tuple(level.float() for level in features.levels),
    )


def _unbatched(features: PatchFeatures) -> Iterator[PatchFeatures]:
    for index in range(features.tokens.shape[0]):
        one = slice(index, index + 1)
        token, segments, proposals = features.global_token, features.segments, features.proposals
        levels = features.levels
        yield replace(
            features,
            tokens=features.tokens[one],
            global_token=None if token is None else token[one],
            segments=None
            if segments is None
            else Segments(shares=segments.shares[one], embeddings=segments.embeddings[one]),
            levels=None if levels is None else tuple(level[one] for level in levels),
            proposals=None if proposals is None else Proposals(classes=proposals.classes[one]),
        )
