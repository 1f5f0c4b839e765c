"""Rasters of any size: where blocks, files and runs begin does not show, and what lies where is kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import ImageError, InputError
from lexiseg.data.rasters import open_raster
from lexiseg.inference import raster_blocks
from lexiseg.inference.raster_blocks import RasterBlocks
from lexiseg.inference.segment_raster import RasterRequest, raster_is_done, segment_raster
from toy_segmenter import ColourSegmenter
from written_rasters import COLOURS, UTM, WORDS, truth, write_raster

TILES = {"tiled": True, "blockxsize": 16, "blockysize": 16}
DEGREES = {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 8, 0, -1e-5, 45)}


def request(polygons="none", **changes):
    return RasterRequest.build(ColourSegmenter(), WORDS, polygons=polygons, **changes)


def labels_of(path, **changes):
    asked = request(**changes)
    settings = asked.model.settings.changed(**asked.changes)
    with open_raster(path) as raster:
        blocks = RasterBlocks(
            model=asked.model, raster=raster, class_names=asked.class_names, settings=settings
        )
        found = np.concatenate([np.concatenate(list(blocks.labels(rows)), 1) for rows in blocks.rows])
        return found, blocks


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of 150 x 190 whose squares do not lie on the grid of patches."""
    labels = truth(150, 190, side=13)
    path = write_raster(
        tmp_path_factory.mktemp("scene") / "scene.tif",
        COLOURS[labels],
        tiled=True,
        blockxsize=16,
        blockysize=16,
    )
    return path, labels


def test_labels_lie_where_the_colours_are(scene):
    path, labels = scene
    found, _ = labels_of(path)
    assert found.shape == labels.shape
    assert (found == labels).mean() > 0.9
    middles = (slice(6, None, 13), slice(6, None, 13))
    assert np.array_equal(found[middles], labels[middles])


def test_every_window_is_encoded_once_where_features_fit(scene):
    _, blocks = labels_of(scene[0])
    assert blocks.num_encoded == len(blocks._starts[0]) * len(blocks._starts[1])
    assert len(blocks._features) <= len(blocks._starts[1]), "at most a row is kept"


@pytest.mark.exhaustive
def test_labels_do_not_depend_on_what_is_kept(scene, monkeypatch):
    found, once = labels_of(scene[0])
    monkeypatch.setattr(raster_blocks, "FEATURE_BYTES", 0)
    again, more = labels_of(scene[0])
    assert more.num_encoded > once.num_encoded
    assert np.array_equal(found, again)


@pytest.mark.parametrize(
    ("refine", "cut"),
    [("none", (1, 0)), ("none", (40, 21)), pytest.param("guided", (7, 30), marks=pytest.mark.exhaustive)],
)
def test_a_cut_of_a_scene_has_its_labels(scene, tmp_path, refine, cut):
    """But near the new border, as pixels beyond it are not known there."""
    path, _ = scene
    top, left = cut
    whole, _ = labels_of(path, refine=refine)
    with rasterio.open(path) as file:
        pixels = file.read().transpose(1, 2, 0)[top:, left:]
        part = write_raster(
            tmp_path / "part.tif", pixels, transform=file.transform @ Affine.translation(left, top)
        )
    found, _ = labels_of(part, refine=refine)
    # Refinement looks at a block of a window's width with all windows that reach into it.
    far = 32 if refine == "none" else 64
    inner = (slice(far, found.shape[0] - far), slice(far, found.shape[1] - far))
    assert found[inner].size
    assert np.array_equal(found[inner], whole[top:, left:][inner])


@pytest.mark.exhaustive
@pytest.mark.parametrize("window", [16, 64])
def test_the_size_of_windows_changes_less_than_a_hundredth_of_pixels(scene, window):
    """For a model whose scores do not depend on what else a window shows."""
    found, _ = labels_of(scene[0])
    other, _ = labels_of(scene[0], window=window)
    assert (found != other).mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (15, 15), (33, 31)])
def test_small_rasters_have_labels_too(tmp_path, size):
    path = write_raster(tmp_path / "small.tif", np.broadcast_to(COLOURS[2], (*size, 3)))
    found, _ = labels_of(path)
    assert found.shape == size
    assert (found == 2).all()


def test_pixels_without_data_are_void_and_cost_nothing(tmp_path):
    pixels = COLOURS[truth(128, 128)] // 2 + 60
    pixels[:, 70:] = 0
    found, blocks = labels_of(write_raster(tmp_path / "half.tif", pixels, nodata=0))
    assert (found[:, 70:] == IGNORE_INDEX).all()
    assert (found[:, :70] != IGNORE_INDEX).all()
    assert blocks.num_encoded < len(blocks._starts[0]) * len(blocks._starts[1])


ROTATED = Affine.translation(400_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(2, -2)


@pytest.mark.exhaustive("kind", "profile")
@pytest.mark.parametrize("kind", ["gpkg", "geojson"])
@pytest.mark.parametrize("profile", [{}, {"transform": ROTATED}, {"crs": None, "transform": None}])
def test_the_files_lie_where_the_raster_lies(tmp_path, kind, profile):
    import pyogrio

    labels = truth(64, 96)
    path = write_raster(tmp_path / "scene.tif", COLOURS[labels], **profile)
    facts = segment_raster(path, request(kind), tmp_path / "out")
    with rasterio.open(path) as source, rasterio.open(tmp_path / "out/scene.labels.tif") as file:
        assert (file.crs, file.transform, file.shape) == (source.crs, source.transform, source.shape)
        assert (file.nodata, file.dtypes) == (255, ("uint8",))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert json.loads(file.tags()["LEXISEG_CLASSES"]) == WORDS.split(", ")
        assert len({file.colormap(1)[label] for label in range(5)}) == 5
        found = file.read(1)
        bounds = rasterio.transform.array_bounds(64, 96, source.transform)
        rasterio.shutil.copy(file.name, str(tmp_path / "names.vrt"), driver="VRT")
    assert "<Category>red</Category>" in (tmp_path / "names.vrt").read_text()
    about = pyogrio.read_info(tmp_path / f"out/scene.polygons.{kind}")
    meta, _, shapes, (numbers, texts) = pyogrio.raw.read(tmp_path / f"out/scene.polygons.{kind}")
    assert about["features"] == facts["num_regions"] == len(shapes)
    assert {int(number): str(text) for number, text in zip(numbers, texts, strict=True)} == {
        label: WORDS.split(", ")[label] for label in np.unique(found)
    }
    if kind == "gpkg":
        if "crs" not in profile:
            assert "32632" in str(meta["crs"])
        if "transform" not in profile:
            assert np.allclose(about["total_bounds"], bounds)
        burnt = rasterio.features.rasterize(
            [(geometry(shape), int(number)) for shape, number in zip(shapes, numbers, strict=True)],
            found.shape, fill=255, transform=source.transform, dtype="uint8",
        )  # fmt: skip
        assert np.array_equal(burnt, found)
    elif "crs" not in profile:
        west, south, east, north = about["total_bounds"]
        assert 7 < west < east < 9
        assert 44 < south < north < 46


def geometry(shape):
    """Read a polygon of well-known binary."""
    count, place, rings = int.from_bytes(shape[5:9], "little"), 9, []
    for _ in range(count):
        size = int.from_bytes(shape[place : place + 4], "little")
        rings.append(np.frombuffer(shape, "<f8", 2 * size, place + 4).reshape(-1, 2).tolist())
        place += 4 + 16 * size
    return {"type": "Polygon", "coordinates": rings}


def test_areas_are_of_the_reference_system(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.broadcast_to(COLOURS[0], (40, 20, 3)))
    facts = segment_raster(path, request(), tmp_path / "out")
    assert facts["classes"] == [{"label": 0, "name": "red", "share": 1.0, "area_m2": 200.0}]
    path = write_raster(
        tmp_path / "b.tif",
        np.broadcast_to(COLOURS[0], (8, 8, 3)),
        crs="EPSG:4326",
        transform=Affine(1e-5, 0, 8, 0, -1e-5, 45),
    )
    assert "area_m2" not in segment_raster(path, request(), tmp_path / "out")["classes"][0]


def test_more_than_255_classes_have_16_bits(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.broadcast_to(COLOURS[0], (16, 16, 3)), nodata=9)
    words = ", ".join(f"thing {number}" for number in range(260)) + ", red"
    asked = RasterRequest.build(ColourSegmenter(), words, polygons="none")
    segment_raster(path, asked, tmp_path / "out")
    with rasterio.open(tmp_path / "out/a.labels.tif") as file:
        assert (file.dtypes[0], file.nodata) == ("uint16", IGNORE_INDEX)
        assert (file.read(1) == 260).all()


class StoppedError(Exception):
    pass


@pytest.mark.exhaustive
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(scene, tmp_path):
    path, _ = scene
    straight = segment_raster(path, request(), tmp_path / "straight")
    seen = []

    def stop(done, total):
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        segment_raster(path, request(), tmp_path / "out", advance=stop)
    assert not (tmp_path / "out/scene.json").exists()
    kept = sorted((tmp_path / "out").glob(".rows-*/*.png"))
    assert len(kept) == 3
    kept[0].write_bytes(kept[0].read_bytes()[:-30])  # damaged: made again
    asked = request()
    facts = segment_raster(
        path,
        asked,
        tmp_path / "out",
        advance=lambda done, total: seen.append(len(asked.model.encoded_batches)),
    )
    assert seen[0] > 0
    assert seen[2] == seen[0], "rows two and three were kept"
    assert facts["sha256"] == straight["sha256"]
    assert not list((tmp_path / "out").glob(".rows-*"))
    assert raster_is_done(path, tmp_path / "out", "scene", asked) == facts


@pytest.mark.exhaustive
def test_rows_of_another_request_are_not_used(scene, tmp_path):
    def stop(done, total):
        raise StoppedError

    with pytest.raises(StoppedError):
        segment_raster(scene[0], request(), tmp_path / "out", advance=stop)
    other = replace(
        request(), class_names=request().model.name_classes("white, black", ColourSegmenter().settings)
    )
    assert raster_is_done(scene[0], tmp_path / "out", "scene", other) is None
    facts = segment_raster(scene[0], other, tmp_path / "out")
    assert {each["name"] for each in facts["classes"]} == {"white", "black"}
    assert not list((tmp_path / "out").glob(".rows-*"))


@pytest.mark.exhaustive
def test_a_result_that_was_changed_is_not_done(scene, tmp_path):
    segment_raster(scene[0], request(), tmp_path / "out")
    assert raster_is_done(scene[0], tmp_path / "out", "scene", request())
    assert raster_is_done(scene[0], tmp_path / "out", "scene", request(background="name")) is None
    with (tmp_path / "out/scene.labels.tif").open("ab") as file:
        file.write(b"more")
    assert raster_is_done(scene[0], tmp_path / "out", "scene", request()) is None


@pytest.mark.exhaustive
def test_a_file_damaged_in_the_middle_keeps_what_was_before(scene, tmp_path):
    labels = truth(200, 200)
    path = write_raster(tmp_path / "a.tif", COLOURS[labels], compress="deflate", blockysize=8)
    data = bytearray(path.read_bytes())
    data[-600:-300] = b"\xff" * 300
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"rows .* to"):
        segment_raster(path, request(), tmp_path / "out")
    assert list((tmp_path / "out").glob(".rows-*/*.png"))


@pytest.mark.parametrize(
    "changes",
    [{"short_side": 64}, {"tiles": "auto"}, {"max_long_side": 900}, {"keep_aspect": False}, {"min_area_share": 0.1},
     {"window": 30}, {"window": 32, "window_stride": 6}, {"none_of_these": "label"}, {"bands": "1,2"},
     {"value_range": "9..1"}, {"polygons": "shp"}],
    ids=str,
)  # fmt: skip
def test_what_means_nothing_for_rasters_is_refused(changes):
    with pytest.raises(InputError):
        request(**changes)


class Regions(ColourSegmenter):
    def propose_regions(self, image):
        return np.zeros(image.shape[:2], np.int32)


def test_methods_that_need_the_whole_image_are_refused():
    with pytest.raises(InputError, match="one by one"):
        RasterRequest.build(Regions(), WORDS)


def test_the_grid_goes_on_beyond_a_file(scene):
    with open_raster(scene[0]) as raster:
        row, column = raster.grid_origin
    assert UTM.f == row * UTM.e
    assert UTM.c == column * UTM.a
