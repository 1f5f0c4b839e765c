"""Encode images: resize, cut into windows and tiles, batch crops of equal size.

What an image that is much larger than the model's size is seen through stands in ``inference.tiles``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures, Proposals, Segments
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.tiles import View, describe_tiles, placed_in, tiled_views
from lexiseg.ops.patch_places import unknown_extents
from lexiseg.ops.sliding_window import Window, WindowWeights, even_weights, windows

#: Images encoded in one call; more gains nothing on a CPU and costs memory.
ENCODE_BATCH = 8
Encode = Callable[..., PatchFeatures]
#: Pixels of windows and their extents (``ops.patch_places``).
EncodeWindows = Callable[..., PatchFeatures]


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
        view_counts: How many windows each size of a tiled image has, the whole view first; empty for one that is not.
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
    view_counts: tuple[int, ...] = ()


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
    encode_windows: EncodeWindows | None = None,
    are_windows: bool = False,
) -> list[EncodedImage]:
    """Resize, cut into windows and encode images; crops of equal size share a batch.

    Crops that are less than an image go to ``encode_windows`` with their extents, where there is one; so do all where
    the images themselves are windows of something, of which nothing is known. Where there are ``regions``, one map an
    image at its own size, they are resized (nearest) and cut as the images are, and ``encode`` gets those of its crops
    as a second argument, ``B H W``.
    """
    plans = [_views(image.shape[:2], stride, settings) for image in images]
    features: list[list[PatchFeatures]] = [[] for _ in images]
    crops = [
        (window.height, window.width, index, view, window)
        for index, views in enumerate(plans)
        for view in views
        for window in view.windows
    ]

    def kind(place: int) -> tuple[int, int, bool]:
        height, width, _, view, _ = crops[place]
        return height, width, are_windows or (height, width) != view.size

    order = sorted(range(len(crops)), key=kind)  # keeps the order of one view's windows
    resized: dict[tuple[int, tuple[int, int]], Tensor] = {}
    resized_regions: dict[tuple[int, tuple[int, int]], Tensor] = {}
    found: dict[int, PatchFeatures] = {}
    for (_, _, is_part), alike in groupby(order, key=kind):
        for batch in _batches(list(alike), ENCODE_BATCH):
            pieces, cuts = [], []
            for place in batch:
                _, _, index, view, window = crops[place]
                if (index, view.size) not in resized:
                    resized[index, view.size] = resize_image(images[index], view.size)
                    if regions is not None:
                        resized_regions[index, view.size] = resize_regions(regions[index], view.size)
                pixels = resized[index, view.size]
                rows = slice(window.top, window.top + window.height)
                columns = slice(window.left, window.left + window.width)
                pieces.append(pixels[:, rows, columns])
                if regions is not None:
                    cuts.append(resized_regions[index, view.size][rows, columns])
            with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
                more = [torch.stack(cuts).to(device)] if cuts else []
                given = torch.stack(pieces).to(device)
                if is_part and encode_windows is not None:
                    places = [_extent(crops[place][4], crops[place][3].size) for place in batch]
                    extents = unknown_extents(len(batch)) if are_windows else torch.tensor(places)
                    encoded = in_float32(encode_windows(given, extents.to(device), *more))
                else:
                    encoded = in_float32(encode(given, *more))
            found |= zip(batch, _unbatched(encoded), strict=True)
    for place, crop in enumerate(crops):
        features[crop[2]].append(found[place])
    results = []
    for number, (image, source, views, of_image) in enumerate(
        zip(images, sources, plans, features, strict=True)
    ):
        size = views[-1].size
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
                weights=tuple(
                    each.scaled(view.size[0] / size[0])
                    for view, windows in zip(views, placed, strict=True)
                    for each in even_weights(windows, size)
                )
                if is_tiled
                else (),
                tiling=describe_tiles(image.shape[:2], views) if is_tiled else None,
                view_counts=tuple(len(view.windows) for view in views) if is_tiled else (),
                regions=None if regions is None else regions[number],
            )
        )
    return results


def _extent(window: Window, size: tuple[int, int]) -> list[float]:
    """Return a window's top, bottom, left and right edge as shares of the image's height and width."""
    bottom, right = window.top + window.height, window.left + window.width
    return [window.top / size[0], bottom / size[0], window.left / size[1], right / size[1]]


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
    return [whole, *tiled_views(image_size, size, stride, settings)]


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


def resize_regions(regions: Int32[np.ndarray, "_ _"], size: tuple[int, int]) -> Int32[Tensor, "_ _"]:
    """Return a region map at another size: the region under the centre of every new pixel."""
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
