"""``lexiseg raster`` and ``--bands``, as typed."""

import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from lexiseg.cli import main
from lexiseg.runs.load import MODELS
from toy_segmenter import ColourSegmenter, registered
from written_rasters import COLOURS, truth, write_raster


@pytest.fixture(autouse=True)
def colours(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "colours", registered())
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    try:
        main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stopped:
        code = stopped.code or 0
    return code, capsys.readouterr()


def raster(capsys, *arguments):
    return run(capsys, "raster", *arguments, "--model", "colours")


def test_a_folder_of_rasters_is_segmented_once(tmp_path, capsys):
    labels = truth(40, 60)
    (tmp_path / "scenes/north").mkdir(parents=True)
    write_raster(tmp_path / "scenes/a.tif", COLOURS[labels])
    write_raster(tmp_path / "scenes/north/a.tif", COLOURS[labels])
    (tmp_path / "scenes/broken.tif").write_bytes(b"II*\0 nothing")
    asked = ("scenes", "--words", "red, green, blue, black, white", "--out", "scenes/found")
    code, printed = raster(capsys, *asked)
    assert code == 1
    assert "2 segmented, 1 failed" in printed.out
    assert "hectares" in printed.out
    assert "broken.tif: " in printed.err
    for stem in ("a", "north/a"):
        facts = json.loads((tmp_path / f"scenes/found/{stem}.json").read_text())
        assert facts["crs"].startswith("PROJCS")
        with rasterio.open(tmp_path / f"scenes/found/{stem}.labels.tif") as file:
            assert (file.read(1) == labels).mean() > 0.9
        assert (tmp_path / f"scenes/found/{stem}.polygons.gpkg").is_file()
    code, printed = raster(capsys, *asked)
    assert "0 segmented, 2 already there, 1 failed" in printed.out
    code, printed = raster(capsys, "scenes/a.tif", "--words", "red, green", "--out", "scenes/found")
    assert code == 2
    assert "another request" in printed.err
    code, printed = raster(
        capsys, "scenes/a.tif", "--words", "red, green", "--out", "scenes/found", "--overwrite"
    )
    assert code == 0
    assert "1 results of other words" in printed.out


def test_results_are_no_rasters_to_segment(tmp_path, capsys):
    write_raster(tmp_path / "a.tif", COLOURS[truth(20, 20)])
    for expected in ("1 segmented", "0 segmented, 1 already there"):
        code, printed = raster(capsys, ".", "--words", "red, blue", "--out", ".", "--polygons", "none")
        assert (code, expected in printed.out) == (0, True), printed


@pytest.mark.parametrize(("window", "is_said"), [(16, False), (64, True)])
def test_a_window_larger_than_the_model_sees_is_told(tmp_path, capsys, monkeypatch, window, is_said):
    monkeypatch.setattr(ColourSegmenter, "largest_window", 32)
    write_raster(tmp_path / "a.tif", COLOURS[truth(20, 20)])
    code, printed = raster(capsys, "a.tif", "--words", "red, blue", "--polygons", "none", "--window", window)
    assert code == 0
    assert ("--window 64 changes nothing" in printed.err) == is_said


def test_what_a_file_does_not_say_is_asked(tmp_path, capsys):
    pixels = np.repeat(COLOURS[truth(20, 20)], 2, 2)[..., :5].astype(np.uint16) * 10
    write_raster(tmp_path / "a.tif", pixels)
    asked = ("a.tif", "--words", "red, blue", "--polygons", "geojson")
    code, printed = raster(capsys, *asked)
    assert code == 2
    assert "--bands" in printed.err
    code, printed = raster(capsys, *asked, "--bands", "1,3,5", "--value-range", "0..2550")
    assert code == 0, printed
    assert "bands 1, 3, 5" in printed.out
    assert json.loads((tmp_path / "segmented/a.polygons.geojson").read_text())["features"]


def test_segment_takes_bands_of_plain_tiffs(tmp_path, capsys):
    labels = truth(32, 32)
    write_raster(tmp_path / "a.tif", np.repeat(COLOURS[labels], 2, 2), crs=None, transform=None)
    asked = ("segment", "a.tif", "--words", "red, green, blue, black, white", "--model", "colours")
    code, printed = run(capsys, *asked)
    assert code == 1
    assert "--bands" in printed.err
    for expected in ("1 segmented", "0 segmented, 1 already there"):
        code, printed = run(capsys, *asked, "--bands", "1,3,5")
        assert code == 0
        assert expected in printed.out
    with Image.open(tmp_path / "segmented/a.labels.png") as file:
        assert (np.asarray(file) == labels).mean() > 0.9
    assert json.loads((tmp_path / "segmented/a.json").read_text())["settings"]["bands"] == "1,3,5"
    code, printed = run(capsys, *asked, "--bands", "1,3,9", "--out", "other")
    assert code in (1, 2)
    assert "no band 9" in printed.err + printed.out
