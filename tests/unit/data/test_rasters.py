"""What a GeoTIFF can be: read as it says, or asked about, or refused; never guessed."""

import struct
import warnings

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from lexiseg.core.errors import ImageError, InputError
from lexiseg.data.images import ImageWarning, ValueRange, load_image
from lexiseg.data.rasters import open_raster, parse_bands, read_bands
from written_rasters import write_raster

RANGE = ValueRange.parse("0..10000")
PLAIN = {"crs": None, "transform": None}


def pixels(*shape, dtype=np.uint8, top=250):
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def read(path, bands=None, value_range=None):
    with open_raster(path, bands, value_range) as raster:
        return (*raster.read((0, raster.size[0]), (0, raster.size[1])), raster)


def test_colours_of_8_bits_are_as_they_are(tmp_path):
    there = pixels(9, 7, 3)
    rgb, has_data, raster = read(write_raster(tmp_path / "a.tif", there))
    assert np.array_equal(rgb, there)
    assert has_data.all()
    assert (raster.size, raster.bands, raster.linear_metres) == ((9, 7), (1, 2, 3), 1.0)


def test_the_mirror_lies_outside(tmp_path):
    there = pixels(5, 6, 3)
    with open_raster(write_raster(tmp_path / "a.tif", there)) as raster:
        rgb, has_data = raster.read((-12, 13), (-3, 9))
    assert np.array_equal(rgb, np.pad(there, ((12, 8), (3, 3), (0, 0)), mode="symmetric"))
    assert has_data.sum() == 30
    assert has_data[12:17, 3:9].all()


def test_near_infrared_is_left_out_or_chosen(tmp_path):
    there = pixels(4, 4, 4)
    path = write_raster(tmp_path / "a.tif", there, photometric="RGB", alpha="no")
    assert np.array_equal(read(path)[0], there[..., :3])
    assert np.array_equal(read(path, (4, 1, 2))[0], there[..., [3, 0, 1]])
    assert np.array_equal(read(path, (4,))[0], there[..., [3, 3, 3]])


def test_bands_may_be_called_in_any_order(tmp_path):
    path = write_raster(tmp_path / "a.tif", pixels(4, 4, 4), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    assert read(path)[2].bands == (4, 3, 2)


@pytest.mark.parametrize("count", [2, 4, 5, 13])
def test_bands_without_names_are_asked_for(tmp_path, count):
    path = write_raster(tmp_path / "a.tif", pixels(4, 4, count), photometric="MINISBLACK", alpha="no")
    with pytest.raises(InputError, match="--bands"):
        read(path)
    assert read(path, (2, 1, 2))[2].bands == (2, 1, 2)
    with pytest.raises(InputError, match="no band 14"):
        read(path, (1, 2, 14))


def test_alpha_a_mask_and_nodata_say_where_there_are_data(tmp_path):
    there = pixels(6, 6, 4)
    there[..., 3] = 255
    there[:2, :, 3] = 0
    rgb, has_data, raster = read(write_raster(tmp_path / "alpha.tif", there, photometric="RGB", alpha="yes"))
    assert raster.bands == (1, 2, 3)
    assert np.array_equal(has_data, there[..., 3] > 0)
    assert len(np.unique(rgb[~has_data], axis=0)) == 1
    path = write_raster(tmp_path / "mask.tif", there[..., :3])
    with rasterio.open(path, "r+") as file:
        file.write_mask(there[..., 3] > 0)
    assert np.array_equal(read(path)[1], there[..., 3] > 0)
    floats = there[..., :3].astype(np.float32)
    floats[3, 3] = np.nan
    floats[4, 4, 1] = np.inf
    has_data = read(write_raster(tmp_path / "nan.tif", floats), value_range=RANGE)[1]
    assert [tuple(place) for place in np.argwhere(~has_data)] == [(3, 3), (4, 4)]


def test_16_bits_are_scaled_by_a_range_or_percentiles_of_each_band(tmp_path):
    there = pixels(40, 40, 3, dtype=np.uint16, top=3000)
    there[..., 1] += 4000
    path = write_raster(tmp_path / "a.tif", there)
    rgb = read(path, value_range=RANGE)[0]
    assert np.abs(rgb - there / 10000 * 255).max() <= 0.5
    rgb, _, raster = read(path, value_range=ValueRange.parse("percentile"))
    assert raster.limits[0][1] < 3001 < 4000 <= raster.limits[1][0]
    assert rgb.reshape(-1, 3).std(0).min() > 60
    with pytest.warns(ImageWarning, match=r"0\.\.8191"):
        assert read(path)[0].max() == round(there.max() / 257)


def test_8_bits_are_stretched_where_a_range_is_stated(tmp_path):
    path = write_raster(tmp_path / "a.tif", pixels(9, 9, 3, top=100))
    assert read(path, value_range=ValueRange.parse("0..99"))[0].max() > 240


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "uint32", "complex64"])
def test_values_without_a_known_white_are_asked_about(tmp_path, dtype):
    path = write_raster(tmp_path / "a.tif", pixels(4, 4, 1).astype(dtype))
    with pytest.raises(InputError, match="--value-range"):
        read(path)
    if dtype != "complex64":
        assert read(path, value_range=RANGE)[0].shape == (4, 4, 3)


def test_a_palette_is_looked_up(tmp_path):
    there = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=4, width=4, count=1, dtype="uint8", photometric="palette"
    ) as file:
        file.write(there[..., 0], 1)
        file.write_colormap(1, {value: (value * 3, 255 - value, 7, 255) for value in range(16)})
    assert read(path)[0][2, 1].tolist() == [27, 246, 7]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_any_size_is_read(tmp_path, size):
    assert read(write_raster(tmp_path / "a.tif", pixels(*size, 3)))[0].shape == (*size, 3)


@pytest.mark.parametrize(
    ("text", "bands"), [("1,2,3", (1, 2, 3)), (" 4, 3 ,2", (4, 3, 2)), ("7", (7,)), ("1,1,1", (1, 1, 1))]
)
def test_bands_are_parsed(text, bands):
    assert parse_bands(text) == bands


@pytest.mark.parametrize("text", ["", "1,2", "0,1,2", "1,2,3,4", "a", "-1", "1.5", "²", "1,,3", "9" * 5000])
def test_other_texts_are_no_bands(text):
    if text.startswith("99"):
        text += ","
    with pytest.raises(InputError):
        parse_bands(text)


def whole(path):
    return write_raster(path, pixels(64, 64, 3), compress="deflate").read_bytes()


def set_tag(data: bytes, tag: int, value: int) -> bytes:
    """Put another value into a tag of a little-endian TIFF."""
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place)[0] == tag:
            struct.pack_into("<HII", changed, place + 2, 4, 1, value)
    return bytes(changed)


BROKEN = {
    "empty": lambda data: b"",
    "text": lambda data: b"not a raster" * 40,
    "a PNG": lambda data: b"\x89PNG\r\n\x1a\n" + data[8:],
    "header only": lambda data: data[:8],
    "cut": lambda data: data[: len(data) // 3],
    "width of two thousand millions": lambda data: set_tag(data, 256, 2_000_000_000),
    "height of two thousand millions": lambda data: set_tag(data, 257, 2_000_000_000),
    "no width": lambda data: set_tag(data, 256, 0),
    "no height": lambda data: set_tag(data, 257, 0),
    "sixty thousand samples": lambda data: set_tag(data, 277, 60_000),
    "unknown compression": lambda data: set_tag(data, 259, 4242),
    "zeros for pixels": lambda data: data[:8] + bytes(400) + data[408:],
    "directory beyond the end": lambda data: data[:4] + struct.pack("<I", 1 << 30) + data[8:],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused(tmp_path, kind):
    path = tmp_path / "a.tif"
    path.write_bytes(BROKEN[kind](whole(path)))
    with pytest.raises((ImageError, InputError)):
        read(path)


@pytest.mark.parametrize(
    "name", ["absent.tif", ".", "http://example.org/a.tif", "/vsicurl/http://example.org/a.tif"]
)
def test_what_is_no_file_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError):
        read(name)


def test_a_file_in_one_piece_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lexiseg.data.rasters._MOST_BLOCK_BYTES", 1000)
    with pytest.raises(ImageError, match=r"TILED|tiles"):
        read(write_raster(tmp_path / "a.tif", pixels(64, 64, 3), blockysize=64))


def test_control_points_are_refused(tmp_path):
    path = write_raster(tmp_path / "a.tif", pixels(8, 8, 3), transform=None, crs=None)
    from rasterio.control import GroundControlPoint as Point

    with rasterio.open(path, "r+") as file:
        file.gcps = ([Point(0, 0, 8.0, 45.0), Point(0, 8, 8.1, 45.0), Point(8, 0, 8.0, 44.9)], "EPSG:4326")
    with pytest.raises(ImageError, match="gdalwarp"):
        read(path)


@pytest.mark.parametrize(
    ("profile", "origin"),
    [({}, (-10_000_002, 800_007)), ({"crs": None}, (0, 0)),  ({"transform": Affine(1, 0.2, 5, 0.2, -1, 9)}, (0, 0)),
     ({"transform": Affine(2, 0, 6.1, 0, -2, 8.1)}, (-4, 3)), 
     ({"crs": "EPSG:2263", "transform": Affine(1, 0, 3, 0, -1, 9)}, (-9, 3))],
)  # fmt: skip
def test_the_place_on_the_grid_of_the_reference_system(tmp_path, profile, origin):
    raster = read(write_raster(tmp_path / "a.tif", pixels(8, 8, 3), **profile))[2]
    assert raster.grid_origin == origin


def test_feet_are_not_metres(tmp_path):
    raster = read(write_raster(tmp_path / "a.tif", pixels(8, 8, 3), crs="EPSG:2263"))[2]
    assert raster.linear_metres == pytest.approx(0.3048, rel=1e-4)


def test_bands_of_plain_tiffs_are_read_as_images(tmp_path):
    there = pixels(8, 9, 5)
    path = write_raster(tmp_path / "a.tif", there, crs=None, transform=None, nodata=there[0, 0, 0])
    rgb = read_bands(path, (3, 2, 1), None)
    assert np.array_equal(rgb[4, 4], there[4, 4, [2, 1, 0]])


def test_an_image_larger_than_memory_allows_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match="lexiseg raster"):
        read_bands(write_raster(tmp_path / "a.tif", pixels(8, 9, 3)), (1,), None)


def test_segment_tells_of_what_it_does_not_keep_and_asks_for_bands(tmp_path):
    with pytest.warns(ImageWarning, match="lexiseg raster"):
        load_image(write_raster(tmp_path / "a.tif", pixels(8, 9, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image(write_raster(tmp_path / "b.tif", pixels(8, 9, 3), crs=None, transform=None))
        for count in (4, 5):
            path = write_raster(
                tmp_path / "c.tif",
                pixels(8, 9, count),
                crs=None,
                transform=None,
                photometric="MINISBLACK",
                alpha="no",
            )
            with pytest.raises(ImageError, match="--bands"):
                load_image(path)
