"""Results for geographic information systems: label maps as COG, their regions as GeoPackage or GeoJSON.

Both keep the reference system and the transform of the raster they were made from, and carry the class names.
"""

import importlib.util
import json
import struct
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from lexiseg.core.atomic_write import atomic_path, output_error
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.drawing import class_colours
from lexiseg.core.errors import MissingPackageError
from lexiseg.core.image_decoders import DamagedImageError
from lexiseg.core.result_files import RASTER_LABELS
from lexiseg.data.png_chunks import decode_whole_png
from lexiseg.data.rasters import Raster, rasterio_package

#: End of the name of the file that GDAL reads class names from, beside the label map.
CATEGORIES = f"{RASTER_LABELS}.aux.xml"
#: The driver of GDAL for each, and how its layer is made. RFC 7946 is longitude and latitude.
POLYGON_FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    "gpkg": ("GPKG", {}),
    "geojson": ("GeoJSON", {"RFC7946": "YES"}),
}
_LAYER = "classes"
#: Regions that are written at a time.
_REGIONS_AT_ONCE = 50_000
_VOID_BYTE = 255
_TILE = 512


def write_strip(path: Path, labels: UInt16[np.ndarray, "h W"]) -> None:
    """Keep the labels of some rows of a raster.

    Raises:
        OutputError: The folder cannot be written.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(labels).save(temporary, format="PNG", compress_level=1)


def read_strip(path: Path, size: tuple[int, int]) -> UInt16[np.ndarray, "h W"] | None:
    """Read what ``write_strip`` kept; None where there is nothing, or it is damaged or of another size."""
    try:
        labels = decode_whole_png(path, lambda image: np.asarray(image).astype(np.uint16))
    except (OSError, DamagedImageError):
        return None
    return labels if labels.shape == size else None


def write_labels(
    path: Path,
    strips: Iterable[tuple[int, UInt16[np.ndarray, "_ _"]]],
    raster: Raster,
    names: Sequence[str],
    scratch: Path,
) -> None:
    """Write a label map as a Cloud Optimized GeoTIFF, with overviews, and its class names beside it.

    Labels have 8 bits and a colour each where there are at most 255 classes, else 16; void is the file's nodata. The names
    are in the file's tag ``LEXISEG_CLASSES`` (JSON) and, as GDAL and QGIS read them, in ``NAME.tif.aux.xml``.

    Args:
        path: Of the file.
        strips: First row and labels of consecutive rows; 65535 is void.
        raster: Says size, reference system and transform.
        names: Of the classes.
        scratch: A file for the label map before it is rearranged, which stays there.

    Raises:
        OutputError: The folder cannot be written.
    """
    rasterio = rasterio_package()
    is_small = len(names) <= _VOID_BYTE
    void = _VOID_BYTE if is_small else IGNORE_INDEX
    profile = {
        "driver": "GTiff", "height": raster.size[0], "width": raster.size[1], "count": 1,
        "dtype": "uint8" if is_small else "uint16", "crs": raster.crs, "transform": raster.transform,
        "nodata": void, "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer",
    }  # fmt: skip
    with atomic_path(scratch) as temporary, rasterio.open(temporary, "w", **profile) as file:
        file.update_tags(LEXISEG_CLASSES=json.dumps(list(names), ensure_ascii=False))
        file.set_band_description(1, _LAYER)
        if is_small:
            colours = class_colours(len(names)).tolist()
            file.write_colormap(1, {label: (*colour, 255) for label, colour in enumerate(colours)})
        for top, labels in strips:
            values = np.where(labels == IGNORE_INDEX, void, labels).astype(profile["dtype"])
            file.write(values, 1, window=((top, top + len(labels)), (0, raster.size[1])))
    with atomic_path(path) as temporary:
        how = {
            "compress": "DEFLATE",
            "blocksize": _TILE,
            "overview_resampling": "NEAREST",
            "bigtiff": "IF_SAFER",
        }
        try:
            rasterio.shutil.copy(scratch, temporary, driver="COG", **how)
        except Exception as error:  # GDAL's kinds have no public base
            raise output_error(path, OSError(str(error))) from error
    categories = "".join(f"<Category>{escape(name)}</Category>" for name in names)
    with atomic_path(path.with_name(f"{path.name}.aux.xml")) as temporary:
        temporary.write_text(
            f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{categories}</CategoryNames></PAMRasterBand></PAMDataset>\n',
            encoding="utf-8",
        )


def write_polygons(path: Path, labels: Path, names: Sequence[str], kind: str) -> int:
    """Write the connected regions of a label map with ``label`` and ``name``; return how many.

    Outlines run along the edges of pixels and have holes. GeoJSON is in longitude and latitude, as it must be.

    Args:
        path: Of the file.
        labels: What ``write_labels`` wrote. It is read row by row; memory grows with the outlines.
        names: Of the classes.
        kind: ``gpkg`` or ``geojson``.

    Raises:
        OutputError: The folder cannot be written.
        MissingPackageError: pyogrio is not installed.
    """
    rasterio, pyogrio = rasterio_package(), _pyogrio()
    driver, options = POLYGON_FORMATS[kind]
    num = 0
    with atomic_path(path) as temporary, rasterio.open(labels) as file:
        temporary.unlink()  # a file that is there is taken for one to add to
        crs = file.crs.to_wkt() if file.crs else None
        how: dict[str, Any] = {
            "driver": driver, "layer": _LAYER, "geometry_type": "Polygon", "crs": crs,
            "layer_options": options if crs else {}, "fields": np.array(["label", "name"], object),
        }  # fmt: skip
        shapes = rasterio.features.shapes(rasterio.band(file, 1), connectivity=4, transform=file.transform)
        regions = ((int(label), outline) for outline, label in shapes if label != file.nodata)
        while True:
            found = list(islice(regions, _REGIONS_AT_ONCE if driver == "GPKG" else None))
            if found or not num:
                numbers = np.array([label for label, _ in found], np.int32)
                texts = np.array([names[label] for label, _ in found], object)
                outlines = np.array([_wkb(outline["coordinates"]) for _, outline in found], object)
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "'crs' was not provided")  # the raster has none
                    try:
                        pyogrio.raw.write(str(temporary), outlines, [numbers, texts], append=num > 0, **how)
                    except (
                        RuntimeError
                    ) as error:  # pyogrio's kind; what the system refused is in its text only
                        raise output_error(path, OSError(str(error))) from error
            num += len(found)
            if not found or driver != "GPKG":
                return num


def require_pyogrio() -> None:
    """Refuse to go on without pyogrio, which is imported when polygons are written: it takes some 100 MB.

    Raises:
        MissingPackageError: It is not installed.
    """
    if importlib.util.find_spec("pyogrio") is None:
        raise MissingPackageError.of("pyogrio", doing="writing polygons", extra="geo")


def _pyogrio() -> Any:
    require_pyogrio()
    import pyogrio.raw

    return pyogrio


def _wkb(rings: Sequence[Sequence[tuple[float, float]]]) -> bytes:
    """Write a polygon, its outline first, as well-known binary."""
    parts = [struct.pack("<BII", 1, 3, len(rings))]
    for ring in rings:
        parts += [struct.pack("<I", len(ring)), np.asarray(ring, "<f8").tobytes()]
    return b"".join(parts)
