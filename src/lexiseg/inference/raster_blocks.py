"""Label a raster of any size block by block, such that where blocks and files begin does not show.

The raster is seen at its own resolution in overlapping windows. Windows and blocks lie on one grid for all rasters of a
reference system and pixel size: two files cut out of one scene are seen alike wherever they overlap, but for a window's
width at their borders. A block is decided together with all windows that reach into it, blended, and only it is kept:
a block's labels are the same whichever blocks are worked on before it, or at all.

Memory: the windows of one row of blocks that the next row needs again, at most ``FEATURE_BYTES``; beyond that they are
encoded again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.data.rasters import Raster
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import ENCODE_BATCH, EncodedImage
from lexiseg.inference.none_of_these import judge, refuse_unmeasured
from lexiseg.inference.results import encode_sources
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.sliding_window import Window, anchored_starts

#: Features of windows are kept as long as they take at most so much.
FEATURE_BYTES = 24 << 20

#: Windows encoded in one call on a CPU, where more take memory and gain nothing.
_CPU_BATCH = 1

#: Settings that mean nothing where a raster is seen in windows at its own resolution, and why.
_WITHOUT_MEANING = {
    "short_side": "a raster is seen at its own resolution; --window says how much at a time",
    "max_long_side": "a raster is seen at its own resolution",
    "keep_aspect": "a raster is seen at its own resolution",
    "tiles": "a raster is always seen in windows",
    "min_area_share": "a share of a whole raster is not known when its first block is decided",
}


def raster_changes(model: Segmenter, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of inference settings with which a model sees rasters.

    Windows are ``window`` pixels of the raster, by default the model's ``short_side``, ``window_stride`` apart, by default
    half of that, and weigh less towards their edges. They are no larger than ``model.largest_window``, whatever is asked for.

    Args:
        model: The segmenter.
        changes: Fields of ``InferenceSettings`` that were asked for.

    Raises:
        InputError: One of them means nothing here, sides are no multiple of the model's stride, or the model needs to see
            an image as a whole.
    """
    for name, why in _WITHOUT_MEANING.items():
        if name in changes:
            raise InputError(
                doing="reading the inference settings",
                found=f"{name} = {changes[name]!r} for a raster, where it has no effect",
                expected=f"nothing of it: {why}",
                fix=f"Leave --{name.replace('_', '-')} out.",
            )
    own = type(model)
    if (
        own.finish_encoding is not Segmenter.finish_encoding
        or own.propose_regions is not Segmenter.propose_regions
    ):
        raise InputError(
            doing=f"segmenting a raster with {model.name}",
            found="a method that cuts an image into regions or joins its windows before it decides",
            expected="one that encodes windows one by one: mini, a CLIP, a run, a MaskFormer",
            fix="Choose another model, or cut the raster into images and use lexiseg segment.",
        )
    stride, given = model.stride, changes.get("window") or model.settings.window
    window = given or max(1, round(model.settings.short_side / stride)) * stride
    if model.largest_window is not None:
        window = min(window, max(1, model.largest_window // stride) * stride)
    step = changes.get("window_stride") or max(1, window // 2 // stride) * stride
    for name, side in (("window", window), ("window-stride", step)):
        if side % stride or side > window:
            raise InputError(
                doing="cutting a raster into windows",
                found=f"--{name} {side}",
                expected=f"a multiple of the model's stride, {stride} pixels, and no step larger than the window",
                fix=f"Use --{name} {min(window, max(1, round(side / stride)) * stride)}.",
            )
    whole = {"short_side": window, "max_long_side": window, "keep_aspect": True, "tiles": "off"}
    found = {"blend": "tent", **changes, **whole, "window": window, "window_stride": step}
    settings = model.settings.changed(**found)
    if settings.min_area_share is not None:
        found["min_area_share"] = None
    model.refuse_settings(settings)
    refuse_unmeasured(model, settings)
    return found


@dataclass(kw_only=True, eq=False)
class RasterBlocks:
    """Labels of a raster, one row of blocks after the other.

    Attributes:
        model: The segmenter.
        raster: The open raster.
        class_names: What competes.
        settings: Of ``raster_changes``.
        num_encoded: Windows encoded so far.
    """

    model: Segmenter
    raster: Raster
    class_names: ClassNames
    settings: InferenceSettings
    num_encoded: int = 0
    _features: dict[tuple[int, int], PatchFeatures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        window, step = self._window, self._step
        side = max(1, window // step) * step
        #: First rows and columns of windows, and edges of blocks, on each axis.
        self._starts, self._edges = [], []
        for length, origin in zip(self.raster.size, self.raster.grid_origin, strict=True):
            self._starts.append(anchored_starts(length, window, step, origin))
            starts = anchored_starts(length, side, side, origin)
            self._edges.append([0, *(start for start in starts if 0 < start < length), length])

    @property
    def rows(self) -> list[tuple[int, int]]:
        """Return first row and end of every row of blocks."""
        return list(zip(self._edges[0][:-1], self._edges[0][1:], strict=True))

    @property
    def num_columns(self) -> int:
        """Return how many blocks a row has."""
        return len(self._edges[1]) - 1

    def labels(self, rows: tuple[int, int]) -> Iterator[UInt16[np.ndarray, "h _"]]:
        """Label the blocks of one of ``rows`` from left to right; 65535 where there are no data.

        Raises:
            ImageError: The file is damaged there.
        """
        for columns in zip(self._edges[1][:-1], self._edges[1][1:], strict=True):
            yield self._block(rows, columns)
            self._forget(rows[1], columns[1])

    @property
    def _window(self) -> int:
        assert self.settings.window is not None, "raster_changes states it"
        return self.settings.window

    @property
    def _step(self) -> int:
        assert self.settings.window_stride is not None, "raster_changes states it"
        return self.settings.window_stride

    def _block(self, rows: tuple[int, int], columns: tuple[int, int]) -> UInt16[np.ndarray, "h w"]:
        tops, lefts = (
            [start for start in starts if start < span[1] and start + self._window > span[0]]
            for starts, span in zip(self._starts, (rows, columns), strict=True)
        )
        seen_rows = (tops[0], tops[-1] + self._window)
        seen_columns = (lefts[0], lefts[-1] + self._window)
        image, has_data = self.raster.read(seen_rows, seen_columns)
        block = (
            slice(rows[0] - seen_rows[0], rows[1] - seen_rows[0]),
            slice(columns[0] - seen_columns[0], columns[1] - seen_columns[0]),
        )
        if not has_data[block].any():
            return np.full((rows[1] - rows[0], columns[1] - columns[0]), IGNORE_INDEX, np.uint16)
        places = [(top, left) for top in tops for left in lefts]
        windows = tuple(
            Window(top=top - tops[0], left=left - lefts[0], height=self._window, width=self._window)
            for top, left in places
        )
        self._encode(image, dict(zip(places, windows, strict=True)))
        encoded = EncodedImage(
            image=image,
            resized_size=(image.shape[0], image.shape[1]),
            windows=windows,
            features=tuple(self._features[place] for place in places),
            settings=self.settings,
            model=self.model.name,
        )
        with torch.inference_mode():
            decision = self.model.decide(encoded, self.class_names, self.settings)
        labels = decision.label_map(self.class_names, self.settings)[block]
        _, unknown = judge(self.model, decision, len(self.class_names.counts), self.settings, is_tiled=True)
        is_void = ~has_data[block]
        if self.settings.none_of_these == "label" and unknown is not None:
            is_void |= unknown[block]
        return np.where(is_void, np.uint16(IGNORE_INDEX), labels)

    def _encode(self, image: np.ndarray, windows: Mapping[tuple[int, int], Window]) -> None:
        """Encode the windows of a region that are not encoded yet."""
        wanted = [place for place in windows if place not in self._features]
        alone = replace(self.settings, window=None, window_stride=None)
        device = next(iter(self.model.parameters()), torch.empty(0)).device
        size = _CPU_BATCH if device.type == "cpu" else ENCODE_BATCH
        for start in range(0, len(wanted), size):
            batch = wanted[start : start + size]
            cut = [windows[place] for place in batch]
            crops = [image[w.top : w.top + w.height, w.left : w.left + w.width] for w in cut]
            encoded = encode_sources(self.model, crops, alone, are_windows=True)
            for place, found in zip(batch, encoded, strict=True):
                self._features[place] = _with_own_memory(found.features[0])
            self.num_encoded += len(batch)

    def _forget(self, bottom: int, right: int) -> None:
        """Drop the windows that neither the next block nor the next row of blocks needs."""
        for top, left in list(self._features):
            if top + self._window <= bottom and left + self._window <= right:
                del self._features[top, left]
        if right == self.raster.size[1]:
            for top, left in list(self._features):
                if top + self._window <= bottom:
                    del self._features[top, left]
        taken = [(place, _num_bytes(found)) for place, found in self._features.items()]
        surplus = sum(size for _, size in taken) - FEATURE_BYTES
        for (top, left), size in taken:
            if surplus > 0 and left + self._window <= right:
                del self._features[top, left]
                surplus -= size


def _tensors(features: PatchFeatures) -> Iterator[torch.Tensor]:
    segments, proposals = features.segments, features.proposals
    yield features.tokens
    yield from (each for each in (features.global_token, *(features.levels or ())) if each is not None)
    if segments is not None:
        yield from (segments.shares, segments.embeddings)
    if proposals is not None:
        yield proposals.classes


def _num_bytes(features: PatchFeatures) -> int:
    return sum(each.numel() * each.element_size() for each in _tensors(features))


def _with_own_memory(features: PatchFeatures) -> PatchFeatures:
    """Return features whose tokens do not hold on to those of the other windows of their batch."""
    levels = features.levels
    return replace(
        features,
        tokens=features.tokens.clone(),
        levels=None if levels is None else tuple(level.clone() for level in levels),
    )
