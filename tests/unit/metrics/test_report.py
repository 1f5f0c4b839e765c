import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lexiseg.core.errors import OutputError
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.metrics.report import Report, print_report, write_report

NAMES = ("road", "sky", "tree", "boat", "[red]cat")
KEYS = ["mean_iou", "mean_iou_present", "mean_iou_all", "pixel_accuracy", "mean_accuracy"]
KEYS += ["frequency_weighted_iou", "per_class", "num_classes", "num_images", "settings"]


@dataclass
class Settings:
    short_side: int = 448


def m1_report(seen=None, **settings):
    confusion = ConfusionMatrix(5)
    true = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 65535]
    predicted = [0, 0, 0, 3, 1, 1, 0, 2, 2, 2, 1]
    confusion.update(np.array([true], np.uint16), np.array([predicted], np.uint16))
    return Report(scores=compute_scores(confusion, seen), names=NAMES, num_images=1, settings=settings)


def printed(report):
    text = io.StringIO()
    print_report(report, Console(file=text, width=120, force_terminal=False))
    return text.getvalue()


def test_the_json_has_exactly_the_promised_keys(tmp_path):
    write_report(m1_report(), tmp_path / "new" / "scores.json")
    content = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert list(content) == KEYS
    assert set(content["per_class"][0]) == {"name", "iou", "accuracy", "true_pixels", "predicted_pixels"}
    assert content["mean_iou"] == pytest.approx((0.6 + 2 / 3 + 1 + 0) / 4)
    assert (content["num_classes"], content["num_images"]) == (5, 1)


def test_a_split_adds_three_keys_and_nothing_else(tmp_path):
    write_report(m1_report(frozenset({0, 1})), tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    assert set(content) - set(KEYS) == {"seen_mean_iou", "unseen_mean_iou", "harmonic_iou"}
    assert content["unseen_mean_iou"] == 0.5


def test_undefined_values_are_null_and_never_the_word_nan(tmp_path):
    report = m1_report(frozenset(range(5)))
    write_report(report, tmp_path / "scores.json")
    text = (tmp_path / "scores.json").read_text()
    content = json.loads(text)
    assert "NaN" not in text
    assert content["per_class"][4] == {
        "name": "[red]cat", "iou": None, "accuracy": None, "true_pixels": 0, "predicted_pixels": 0
    }  # fmt: skip
    assert content["per_class"][3]["iou"] == 0
    assert content["unseen_mean_iou"] is None
    assert math.isnan(report.scores.unseen_mean_iou)


def test_settings_may_hold_paths_dataclasses_sets_and_numpy_numbers(tmp_path):
    report = m1_report(
        data=Path("a/b"), inference=Settings(), labels=frozenset({2, 1}), share=np.float32(0.5)
    )
    write_report(report, tmp_path / "scores.json")
    settings = json.loads((tmp_path / "scores.json").read_text())["settings"]
    assert settings == {
        "data": str(Path("a/b")),
        "inference": {"short_side": 448},
        "labels": [1, 2],
        "share": 0.5,
    }


def test_a_report_that_cannot_be_written_says_why_and_leaves_no_half_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"writing .*scores\.json: found"):
        write_report(m1_report(), tmp_path / "file" / "scores.json")
    report = m1_report()
    with pytest.raises(ValueError, match="JSON"):
        write_report(
            Report(scores=report.scores, names=NAMES, num_images=1, settings={"x": math.nan}), tmp_path / "a"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_table_says_over_how_many_classes_each_mean_goes_and_in_whose_convention():
    lines = {line.split("│")[1].strip(): line for line in printed(m1_report()).splitlines() if "│" in line}
    assert "56.67" in lines["mean_iou"]
    assert "4 classes that occur or are predicted (mmsegmentation)" in lines["mean_iou"]
    assert "75.56" in lines["mean_iou_present"]
    assert "3 classes that occur (detectron2)" in lines["mean_iou_present"]
    assert "45.33" in lines["mean_iou_all"]
    assert "all 5 classes, without pixels = 0 (ImageNet-S)" in lines["mean_iou_all"]
    assert "80.00" in lines["pixel_accuracy"]
    assert "10 scored pixels" in lines["pixel_accuracy"]


def test_the_table_of_a_split_counts_the_classes_of_both_sides():
    text = printed(m1_report(frozenset({0, 1})))
    assert "2 of 2 seen classes" in text
    assert "2 of 3 unseen classes" in text


def test_classes_are_listed_best_first_without_those_that_have_no_iou():
    text = printed(m1_report())
    assert text.index("tree") < text.index("sky") < text.index("road") < text.index("boat")
    assert "1 classes neither occur nor are predicted" in text
    assert "[red]cat" not in text


def test_names_are_printed_as_they_are_even_where_they_look_like_markup():
    confusion = ConfusionMatrix(5)
    confusion.update(np.array([[4]], np.uint16), np.array([[4]], np.uint16))
    report = Report(scores=compute_scores(confusion), names=NAMES, num_images=1, settings={})
    assert "[red]cat" in printed(report)


def test_of_many_classes_the_best_and_the_worst_are_printed():
    confusion = ConfusionMatrix(100)
    true = np.repeat(np.arange(100, dtype=np.uint16), 100)[None]
    wrong = np.tile(np.arange(100), 100)[None] < np.repeat(np.arange(100), 100)[None]
    confusion.update(true, np.where(wrong, np.uint16(65535), true))
    names = [f"class{label:02d}" for label in range(100)]
    text = printed(Report(scores=compute_scores(confusion), names=names, num_images=1, settings={}))
    shown = [name for name in names if name in text]
    assert shown == names[:12] + names[-12:]
    assert "… 76 more …" in text
