"""The one way from patch features to a label map: windows, one resize, class chunks.

Class scores are resized bilinearly (half-pixel centres) to the image's own size and compared
there; the label map is never resized. Scores of the whole vocabulary at full size never exist:
classes are taken in chunks and, with windows, rows in bands, so that memory does not grow with
the vocabulary.

An image seen whole is resized once, from the grid, unless the method has its own way from the grid to the pixels
that the model saw (``Upsample``); these are then resized as windows are. Windows are resized to the image that the model
saw, blended there, and resized again, as mmsegmentation does (which does it for one window too).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lexiseg.core.features import PatchFeatures
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_rows, source_rows
from lexiseg.ops.sliding_window import blend_band, stitch_band

#: Rows of stitched windows worked on at once, at least.
MIN_BAND_ROWS = 64

Score = Callable[[PatchFeatures, Float[Tensor, "S D"]], Float[Tensor, "B S h w"]]

#: Features of one window, one row of embeddings a name, size of the window in pixels, and rows of it: first, and the
#: one after the last. Gives scores of these pixels where they are more than resized scores of the grid.
Upsample = Callable[
    [PatchFeatures, Float[Tensor, "S D"], tuple[int, int], tuple[int, int]], Float[Tensor, "S _ _"]
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
