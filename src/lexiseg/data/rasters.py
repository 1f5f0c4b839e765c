"""Rasters of geographic information systems, read a rectangle at a time: GeoTIFF and COG, through rasterio.

Whatever the file holds (bands of 8 or 16 bits, floats, a palette, nodata, a mask) becomes 8-bit RGB and a map of the pixels
that have data. What the file does not say, which bands are a picture and which values are black and white, is asked for.
"""

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Num, UInt8
from PIL import Image

from lexiseg.core.errors import ImageError, InputError, MissingPackageError
from lexiseg.core.whole_numbers import whole_number
from lexiseg.data.images import ImageWarning, ValueRange

#: Only this driver of GDAL is asked: others open web addresses and other files that a file names.
_DRIVER = "GTiff"
#: Megabytes of decoded blocks that GDAL keeps: of a file in strips, which are as wide as it, and of one in tiles.
_STRIPS_MB, _TILES_MB = 64, 16
#: A file is decoded in blocks; one of more bytes than this cannot be read in parts.
_MOST_BLOCK_BYTES = 1 << 28
#: Even a file without data has 16 bytes a block: no real one has more pixels a byte.
_MOST_PIXELS_OF_A_BYTE = 100_000
#: Percentiles and the highest value are those of a copy of at most these sides.
_SAMPLE_SIDE = 1024
#: What is given to a model where there is no data: the mean of photographs, which encoders subtract.
_NO_DATA_COLOUR = (124, 116, 104)
#: Added before the first pixel's place in the world is rounded down: no usual fraction of a pixel lies on the edge then.
_ROUNDING = 0.3137


def parse_bands(text: str) -> tuple[int, ...]:
    """Read ``1,2,3``: bands for red, green and blue, or one for grey, counted from 1.

    Raises:
        InputError: It is not one number or three, each 1 or more.
    """
    bands = tuple(number for part in text.split(",") if (number := whole_number(part)))
    if len(bands) in (1, 3) and len(bands) == text.count(",") + 1:
        return bands
    raise InputError(
        doing="reading the bands",
        found=repr(text),
        expected="three numbers from 1 on, for red, green and blue, or one for grey",
        fix="Give --bands 1,2,3, or --bands 4,3,2 for a false-colour picture.",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Raster:
    """An open raster, of which rectangles are read as RGB.

    Attributes:
        path: The file.
        size: ``(height, width)`` in pixels.
        bands: The band that is grey, or those that are red, green and blue, from 1 on.
        limits: Black and white of each of these bands; empty where values are colours as they are.
        crs: Coordinate reference system as WKT; None where the file has none.
        transform: From columns and rows to coordinates, as rasterio's ``Affine``.
        grid_origin: Row and column of the first pixel on the grid of pixels that all rasters of this reference system and
            pixel size share; (0, 0) where there is none.
        linear_metres: Metres of one unit of a projected reference system; None for degrees or none.
    """

    path: Path
    size: tuple[int, int]
    bands: tuple[int, ...]
    limits: tuple[tuple[float, float], ...]
    crs: str | None
    transform: Any
    grid_origin: tuple[int, int]
    linear_metres: float | None
    _dataset: Any
    _palette: UInt8[np.ndarray, "256 3"] | None = None

    def read(
        self, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
        """Read a rectangle as RGB, 0..255, with the pixels that have data; others get a neutral colour.

        What lies outside the raster is its mirror image, without data.

        Args:
            rows: First row and the one after the last; may lie outside.
            columns: The same of columns.

        Raises:
            ImageError: The file is damaged there.
        """
        inside_rows, inside_columns = (
            _mirrored(*span, length) for span, length in zip((rows, columns), self.size, strict=True)
        )
        top, left = int(inside_rows.min()), int(inside_columns.min())
        window = ((top, int(inside_rows.max()) + 1), (left, int(inside_columns.max()) + 1))
        with _reading(self.path, f"rows {window[0][0]} to {window[0][1]}"):
            values = self._dataset.read(list(self.bands), window=window)
            has_data = self._dataset.dataset_mask(window=window) > 0
        if np.issubdtype(values.dtype, np.floating):
            has_data &= np.isfinite(values).all(axis=0)
        rgb = self._to_rgb(values)
        rgb[~has_data] = _NO_DATA_COLOUR
        inside = [_is_inside(*span, length) for span, length in zip((rows, columns), self.size, strict=True)]
        if not all(each.all() for each in inside):
            place = np.ix_(inside_rows - top, inside_columns - left)
            rgb, has_data = rgb[place], has_data[place] & (inside[0][:, None] & inside[1])
        return rgb, has_data

    def _to_rgb(self, values: Num[np.ndarray, "B H W"]) -> UInt8[np.ndarray, "H W 3"]:
        if self._palette is not None:
            return self._palette[values[0]]
        if self.limits:
            ranges = [ValueRange(limits) for limits in self.limits]
            values = np.stack([each.apply(band) for each, band in zip(ranges, values, strict=True)])
        return np.repeat(values[0][..., None], 3, 2) if len(values) == 1 else values.transpose(1, 2, 0).copy()


@contextmanager
def open_raster(
    path: str | Path, bands: Sequence[int] | None = None, value_range: ValueRange | None = None
) -> Iterator[Raster]:
    """Open a GeoTIFF or COG to read rectangles of it; memory does not grow with the raster.

    Args:
        path: The file.
        bands: One band for grey or three for red, green and blue, from 1 on; None takes those that the file itself calls
            so, or its only one.
        value_range: Black and white of the values; percentiles are those of each band. None takes 8 bits as they are and
            all of 16 bits, with a warning where they are less than half used.

    Raises:
        ImageError: It cannot be read, is none, is stored in one piece, or its header cannot be true.
        InputError: It has no such bands, does not say which are a picture, or what is black and white.
        MissingPackageError: rasterio is not installed.
    """
    rasterio = rasterio_package()
    path = Path(path)
    with rasterio.Env(CPL_LOG_ERRORS="OFF"), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        _refuse_no_file(path)
        with _reading(path, "its header"):
            dataset = rasterio.open(path, driver=_DRIVER)
        cache = _TILES_MB if all(width < dataset.width for _, width in dataset.block_shapes) else _STRIPS_MB
        with dataset, rasterio.Env(GDAL_CACHEMAX=cache):
            _refuse_lying(path, dataset)
            chosen = tuple(bands) if bands is not None else _bands_by_name(path, dataset)
            palette = _palette(dataset, chosen)
            if missing := [band for band in chosen if band > dataset.count]:
                raise InputError(
                    doing=f"reading {path}",
                    found=f"no band {missing[0]}",
                    expected=f"bands from 1 to {dataset.count}: {_band_names(dataset)}",
                    fix="Correct --bands.",
                )
            limits = () if palette is not None else _limits(path, dataset, chosen, value_range)
            crs = dataset.crs
            yield Raster(
                path=path,
                size=(dataset.height, dataset.width),
                bands=chosen,
                limits=limits,
                crs=crs.to_wkt() if crs else None,
                transform=dataset.transform,
                grid_origin=_grid_origin(dataset),
                linear_metres=float(crs.linear_units_factor[1]) if crs and crs.is_projected else None,
                _dataset=dataset,
                _palette=palette,
            )


def read_bands(
    path: str | Path, bands: Sequence[int], value_range: ValueRange | None
) -> UInt8[np.ndarray, "H W 3"]:
    """Read bands of a TIFF as one RGB image in memory; pixels without data are white, as transparent ones are.

    Raises:
        ImageError: As for ``open_raster``, or it has more pixels than an image in memory may have.
        InputError: As for ``open_raster``.
        MissingPackageError: rasterio is not installed.
    """
    with open_raster(path, bands, value_range) as raster:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 1 << 27)
        if math.prod(raster.size) > most:
            raise ImageError(
                doing=f"reading {path}",
                found=f"{math.prod(raster.size):,} pixels",
                expected=f"at most {most:,} in memory",
                fix="Use lexiseg raster, which reads a rectangle at a time.",
            )
        rgb, has_data = raster.read((0, raster.size[0]), (0, raster.size[1]))
        rgb[~has_data] = 255
        return rgb


def rasterio_package() -> Any:
    """Import rasterio.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import rasterio
        import rasterio.errors
        import rasterio.features
        import rasterio.shutil
    except ImportError as error:
        raise MissingPackageError.of("rasterio", doing="reading rasters", extra="geo") from error
    return rasterio


@contextmanager
def _reading(path: Path, part: str) -> Iterator[None]:
    from rasterio.errors import RasterioError

    try:
        yield
    except MemoryError as error:
        raise _unreadable(path, f"{part} that do not fit into memory") from error
    except (RasterioError, OSError, ValueError) as error:
        reason = error.__cause__ or error
        raise _unreadable(
            path, f"a damaged or incomplete file, or none of this kind: {part}: {reason}"
        ) from error


def _unreadable(path: Path, found: str) -> ImageError:
    return ImageError(
        doing=f"reading {path}",
        found=found,
        expected="a complete GeoTIFF or COG",
        fix="Copy it again from its source; other formats become one with: gdal_translate -of COG IN OUT.tif.",
    )


def _refuse_no_file(path: Path) -> None:
    if not os.path.isfile(path):  # never an address, nor what GDAL calls a virtual file
        raise ImageError(
            doing=f"reading {path}",
            found="a folder" if os.path.isdir(path) else "no file there",
            expected="a GeoTIFF or COG on this machine",
            fix="Check the path.",
        )


def _refuse_lying(path: Path, dataset: Any) -> None:
    """Refuse a header that cannot be true, and files that can be read as a whole only."""
    num_pixels = dataset.width * dataset.height
    if num_pixels > os.path.getsize(path) * _MOST_PIXELS_OF_A_BYTE:
        raise _unreadable(
            path,
            f"a header of {dataset.width:,}×{dataset.height:,} pixels over {os.path.getsize(path):,} bytes",
        )
    height, width = dataset.block_shapes[0]
    planes = (
        dataset.count if dataset.interleaving is not None and dataset.interleaving.value == "PIXEL" else 1
    )
    num_bytes = height * width * planes * np.dtype(dataset.dtypes[0]).itemsize
    if num_bytes > _MOST_BLOCK_BYTES:
        raise ImageError(
            doing=f"reading {path}",
            found=f"blocks of {width:,}×{height:,} pixels, {num_bytes / 1e6:,.0f} MB each",
            expected=f"blocks of at most {_MOST_BLOCK_BYTES / 1e6:.0f} MB, so that parts can be read",
            fix=f"Store it in tiles: gdal_translate -of COG {path.name} tiled.tif",
        )
    if dataset.gcps[0] and dataset.transform.is_identity:
        raise ImageError(
            doing=f"reading {path}",
            found="control points in place of a transform",
            expected="a raster whose pixels lie on a grid",
            fix=f"Rectify it: gdalwarp {path.name} rectified.tif",
        )


def _bands_by_name(path: Path, dataset: Any) -> tuple[int, ...]:
    """Return the bands that the file calls red, green and blue, or its only one beside alpha."""
    kinds = [kind.name for kind in dataset.colorinterp]
    if {"red", "green", "blue"} <= set(kinds):
        return tuple(kinds.index(colour) + 1 for colour in ("red", "green", "blue"))
    pictures = [band for band, kind in enumerate(kinds, 1) if kind != "alpha"]
    if len(pictures) == 1 or (len(pictures) == 3 and not {"red", "green", "blue"} & set(kinds)):
        return tuple(pictures)
    raise InputError(
        doing=f"reading {path}",
        found=f"{dataset.count} bands that are not called red, green and blue: {_band_names(dataset)}",
        expected="to be told which of them are red, green and blue, or grey",
        fix="Give --bands 1,2,3 (or one band), counted from 1.",
    )


def _band_names(dataset: Any) -> str:
    names = [
        f"{band} {text or kind.name}"
        for band, kind, text in zip(dataset.indexes, dataset.colorinterp, dataset.descriptions, strict=True)
    ]
    return ", ".join([*names[:12], *(["…"] if len(names) > 12 else [])])


def _palette(dataset: Any, bands: Sequence[int]) -> UInt8[np.ndarray, "256 3"] | None:
    if len(bands) > 1 or bands[0] > dataset.count or dataset.dtypes[0] != "uint8":
        return None
    if dataset.colorinterp[bands[0] - 1].name != "palette":
        return None
    table = np.zeros((256, 3), np.uint8)
    for value, colour in dataset.colormap(bands[0]).items():
        table[value] = colour[:3]
    return table


def _limits(
    path: Path, dataset: Any, bands: Sequence[int], value_range: ValueRange | None
) -> tuple[tuple[float, float], ...]:
    """Return black and white of each band; none for 8 bits as they are."""
    kinds = {dataset.dtypes[band - 1] for band in bands}
    if value_range is not None and value_range.limits is not None:
        return tuple(value_range.limits for _ in bands)
    if value_range is None and kinds == {"uint8"}:
        return ()
    if (value_range is None and kinds != {"uint16"}) or any(kind.startswith("complex") for kind in kinds):
        raise InputError(
            doing=f"reading {path}",
            found=f"pixels of the kind {', '.join(sorted(kinds))} whose black and white are not stated",
            expected="8 or 16 bits without a sign, or a stated range of real numbers",
            fix="Give --value-range LOW..HIGH in the file's own values, or --value-range percentile.",
        )
    shape = tuple(min(side, _SAMPLE_SIDE) for side in (dataset.height, dataset.width))
    with _reading(path, "a sample of its pixels"):
        sample = dataset.read(list(bands), out_shape=(len(bands), *shape), masked=True)
    # Integers have no NaN, and may have no value that fills what is masked.
    values = [band[np.isfinite(band)] for band in (part.compressed() for part in sample)]
    if value_range is None:
        highest = max((int(band.max()) for band in values if band.size), default=1 << 15)
        if highest < 1 << 15:
            warnings.warn(
                ImageWarning(
                    f"{path} has 16 bits and hardly a value above {highest:,} of 65,535: it is read dark or black; state its "
                    f"range with --value-range 0..{(1 << max(1, highest.bit_length())) - 1} or percentile",
                    "16-bit raster that uses a part of its range",
                ),
                stacklevel=4,
            )
        return tuple((0.0, 65535.0) for _ in bands)
    limits = [np.percentile(band, (1, 99)) if band.size else (0.0, 1.0) for band in values]
    return tuple((float(low), float(max(high, low + 1e-9))) for low, high in limits)


def _grid_origin(dataset: Any) -> tuple[int, int]:
    at = dataset.transform
    if not dataset.crs or at.b or at.d or not at.a or not at.e:
        return 0, 0
    row, column = at.f / at.e, at.c / at.a
    if not (math.isfinite(row) and math.isfinite(column)):
        return 0, 0
    return math.floor(row + _ROUNDING), math.floor(column + _ROUNDING)


def _mirrored(start: int, stop: int, length: int) -> Int[np.ndarray, " n"]:
    """Return the places of pixels from ``start`` to ``stop``, mirrored at both borders as often as it takes."""
    places = np.arange(start, stop) % (2 * length)
    return np.where(places < length, places, 2 * length - 1 - places)


def _is_inside(start: int, stop: int, length: int) -> Bool[np.ndarray, " n"]:
    places = np.arange(start, stop)
    return (places >= 0) & (places < length)
