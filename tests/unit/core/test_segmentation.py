"""A segmentation counts, draws and saves itself."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.drawing import class_colours
from lexiseg.core.errors import InputError, OutputError
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary

VOID = 65535


def segmentation(labels: np.ndarray, words: object = "cat, sky, sea", **more: object) -> Segmentation:
    return Segmentation(
        label_map=labels.astype(np.uint16),
        score_map=np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape),
        vocabulary=Vocabulary.parse(words),
        image=np.full((*labels.shape, 3), 100, np.uint8),
        **more,
    )


HALVES = np.array([[2, 2, 2, 0], [2, 2, 2, 0]])


def test_shares_list_the_largest_class_first_with_its_mean_score():
    sea, cat = segmentation(HALVES).shares()
    assert (sea.name, sea.label, sea.share) == ("sea", 2, 0.75)
    assert (cat.name, cat.label, cat.share) == ("cat", 0, 0.25)
    assert sea.mean_score == pytest.approx(np.mean([0, 1, 2, 4, 5, 6]) / 7)


def test_void_is_no_class_but_counts_in_the_size():
    only = segmentation(np.array([[VOID, 1]])).shares()
    assert [(share.name, share.share) for share in only] == [("sky", 0.5)]


def test_masks_cover_each_class():
    masks = segmentation(HALVES).masks()
    assert list(masks) == ["sea", "cat"]
    np.testing.assert_array_equal(masks["cat"], HALVES == 0)


def test_coco_annotations_hold_area_box_and_run_lengths():
    sea, cat = segmentation(HALVES).to_coco_rle()
    assert (cat["category_name"], cat["area"], cat["bbox"]) == ("cat", 2, [3, 0, 1, 2])
    assert (sea["category_id"], sea["area"], sea["bbox"]) == (2, 6, [0, 0, 3, 2])
    coco = pytest.importorskip("pycocotools.mask")
    np.testing.assert_array_equal(coco.decode(cat["segmentation"]), HALVES == 0)
    json.dumps([sea, cat])


def test_overlay_mixes_colour_and_image_and_draws_borders():
    labels = np.repeat(np.repeat(HALVES, 40, 0), 40, 1)
    image = np.asarray(segmentation(labels).overlay(opacity=0.5, legend=False))
    assert image.shape == (80, 160, 3)
    expected = (100 + class_colours(3)[2].astype(int)) / 2
    assert np.abs(image[5, 5] - expected).max() <= 1
    assert (image[:, 120] == 255).all()


def test_legend_stands_below_the_image_and_names_every_class():
    labels = np.repeat(np.repeat(HALVES, 40, 0), 40, 1)
    with_legend = segmentation(labels).overlay()
    assert with_legend.width == 160
    assert with_legend.height > 80
    legend = np.asarray(with_legend)[80:]
    for label in (0, 2):
        assert (legend == class_colours(3)[label]).all(axis=2).any()


def test_legend_of_many_classes_on_a_tiny_image_still_draws():
    words = [f"a rather long class name number {index}" for index in range(300)]
    labels = np.arange(30 * 30).reshape(30, 30) % 300
    assert segmentation(labels, words).overlay().width == 30


#: What people without one kind of cones see, on linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
_VIEWS = {
    "as it is": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


@pytest.mark.parametrize("view", _VIEWS)
@pytest.mark.parametrize(("num_classes", "least"), [(5, 18), (8, 15), (12, 13), (18, 10)])
def test_first_colours_are_told_apart_by_everybody(view, num_classes, least):
    color = pytest.importorskip("skimage.color")
    rgb = class_colours(num_classes) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(_VIEWS[view]).T, 0, 1)
    shown = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = color.rgb2lab(shown[None])[0]
    gaps = color.deltaE_ciede2000(lab[:, None], lab[None])
    assert gaps[~np.eye(num_classes, dtype=bool)].min() >= least


def test_names_are_written_into_the_regions_that_hold_them():
    labels = np.zeros((120, 200), int)
    labels[:6, :6] = 1  # too small for its name
    named, bare = (
        np.asarray(segmentation(labels).overlay(legend=False, names=names)) for names in (True, False)
    )
    changed = np.argwhere((named != bare).any(2))
    assert len(changed) > 20
    assert np.abs(changed.mean(0) - (60, 100)).max() < 15
    assert (named[:8, :8] == bare[:8, :8]).all()


def test_notebooks_show_the_overlay_and_a_plot_holds_the_image_beside_it(tmp_path):
    labels = np.repeat(np.repeat(HALVES, 40, 0), 40, 1)
    assert segmentation(labels)._repr_png_().startswith(b"\x89PNG")
    sheet = segmentation(labels).plot(tmp_path / "sheet.png")
    assert sheet.width == 320
    assert (tmp_path / "sheet.png").is_file()


def test_save_writes_three_files_and_the_label_map_reads_back_at_sixteen_bits(tmp_path):
    words = [str(index) for index in range(1000)]
    labels = np.array([[0, 846], [999, VOID]])
    paths = segmentation(labels, words, settings={"model": "x"}).save(tmp_path / "new", "photo")
    assert sorted(path.name for path in paths.values()) == [
        "photo.json",
        "photo.labels.png",
        "photo.overlay.png",
    ]
    with Image.open(paths["labels"]) as image:
        np.testing.assert_array_equal(np.asarray(image), labels)
    facts = json.loads(paths["json"].read_text())
    assert facts["size"] == {"height": 2, "width": 2}
    assert [entry["name"] for entry in facts["classes"]] == ["0", "846", "999"]
    assert facts["settings"] == {"model": "x"}
    assert facts["vocabulary"] == words


def test_save_names_files_after_the_source(tmp_path):
    paths = segmentation(HALVES, source=tmp_path / "holiday 1.jpg").save(tmp_path)
    assert paths["json"] == tmp_path / "holiday 1.json"


def test_save_cuts_a_name_that_is_too_long_and_keeps_two_such_apart(tmp_path):
    sources = [tmp_path / ("x" * 245 + end) for end in ("a.jpg", "b.jpg")]
    saved = {segmentation(HALVES, source=source).save(tmp_path)["json"] for source in sources}
    assert len(saved) == 2
    assert all(path.is_file() for path in saved)


def test_facts_tell_the_image_from_every_other(tmp_path, monkeypatch):
    source = tmp_path / "photo.jpg"
    source.write_bytes(b"12345")
    monkeypatch.chdir(tmp_path)
    facts = segmentation(HALVES, source=Path("photo.jpg")).to_json()
    assert facts["source"] == "photo.jpg"
    expected = {"path": str(source.resolve()), "bytes": 5, "modified_ns": source.stat().st_mtime_ns}
    assert facts["image"] == expected
    assert segmentation(HALVES).to_json()["image"] is None
    assert segmentation(HALVES, source=tmp_path / "gone.jpg").to_json()["image"] is None


def test_source_whose_bytes_are_no_text_is_recorded_and_reads_back(tmp_path):
    source = Path(os.fsdecode(b"caf\xe9 \xe2\x82\xac.jpg"))
    saved = segmentation(HALVES, source=source).save(tmp_path)["json"]
    text = saved.read_bytes().decode("utf-8")
    assert "€" in text
    assert json.loads(text)["source"] == str(source)


def test_facts_are_gone_before_new_labels_stand_and_a_failed_result_leaves_nothing(tmp_path, monkeypatch):
    old = segmentation(HALVES).save(tmp_path)
    replace = os.replace

    def full(end):
        def failing(source, target):
            if str(target).endswith(end):
                assert not old["json"].exists()
                raise OSError(errno.ENOSPC, "full")
            replace(source, target)

        return failing

    monkeypatch.setattr(os, "replace", full("overlay.png"))
    with pytest.raises(OutputError):
        segmentation(1 - HALVES // 2).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_cannot_be_encoded_leave_the_old_result_whole(tmp_path, monkeypatch):
    old = segmentation(HALVES).save(tmp_path)
    before = {kind: path.read_bytes() for kind, path in old.items()}
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OutputError):
        segmentation(HALVES).save(tmp_path)
    assert {kind: path.read_bytes() for kind, path in old.items()} == before


def test_repr_is_one_line_of_size_classes_and_source():
    assert repr(segmentation(HALVES)) == "<Segmentation of an image, 2×4: sea 75.0%, cat 25.0%>"
    many = segmentation(np.arange(8).reshape(2, 4), words="a, b, c, d, e, f, g, h", source=Path("x/y.jpg"))
    assert repr(many).startswith("<Segmentation of x/y.jpg, 2×4: a 12.5%, b 12.5%")
    assert repr(many).endswith(", 3 more>")
    assert repr(segmentation(np.full((1, 1), VOID))) == "<Segmentation of an image, 1×1: void>"


@pytest.mark.parametrize("opacity", [2.0, -0.1, float("nan")])
def test_an_opacity_out_of_range_is_refused(opacity):
    with pytest.raises(InputError, match=r"opacity = .*expected a number from 0"):
        segmentation(HALVES).overlay(opacity=opacity)


def test_a_class_that_won_nothing_has_no_mask():
    assert segmentation(HALVES).masks().get("sky") is None


@pytest.mark.parametrize("label", [0, VOID])
def test_what_is_unknown_is_hatched_listed_and_counted_whatever_its_label(label):
    labels = np.full((64, 64), 2)
    labels[:, 48:] = label
    plain = segmentation(labels)
    found = segmentation(labels, unknown=labels != 2)
    assert (plain.unknown_share, found.unknown_share) == (0, 0.25)
    assert "unknown_share" not in plain.to_json()
    assert found.to_json()["unknown_share"] == 0.25
    assert "unknown 25.0%" in repr(found)
    before, after = (np.asarray(each.overlay(legend=False)) for each in (plain, found))
    assert (before[:, :48] == after[:, :48]).all()
    stripes = after[:, 49:]
    assert {40, 230} <= set(np.unique(stripes).tolist())
    assert (stripes != before[:, 49:]).any(-1).mean() > 0.4
    # One more entry of the legend, with the stripes as its swatch.
    with_legend = np.asarray(found.overlay())
    assert (with_legend[64:] == 40).all(-1).sum() > (np.asarray(plain.overlay())[64:] == 40).all(-1).sum()
