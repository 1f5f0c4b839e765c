"""``evaluate`` against one confusion matrix counted pixel by pixel, to the last bit."""

import math

import numpy as np
import pytest
from PIL import Image

from coloured_blocks import make_data
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.data.folder import FolderDataset
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import AVERAGES, METRICS, SPLIT_METRICS, Scores, compute_scores
from lexiseg.scoring import score as scoring
from lexiseg.scoring.evaluate import EVALUATED, evaluate
from lexiseg.scoring.store.predict import predict_in_memory
from toy_segmenter import ColourSegmenter


def direct(model, dataset, **changes) -> Scores:
    """Count as the definition says: one matrix over all pixels of all images."""
    confusion = ConfusionMatrix(len(dataset.vocabulary))
    for sample in dataset:
        predicted = model.segment(sample.image, dataset.vocabulary, **changes).label_map
        no_class = predicted >= len(dataset.vocabulary)
        confusion.update(sample.label_map, np.where(no_class, np.uint16(IGNORE_INDEX), predicted))
    return compute_scores(confusion, seen=dataset.vocabulary.seen)


@pytest.mark.exhaustive("changes", "seen", "first")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"background": "name"},
        {"background": "threshold", "threshold": -0.4},
        {"refine": "guided", "window": 24, "window_stride": 16},
    ],
)
@pytest.mark.parametrize("seen", [None, "red\nblue\n"])
@pytest.mark.parametrize("first", ["background", "grey"])
def test_every_number_is_that_of_one_confusion_matrix_to_the_last_bit(tmp_path, changes, seen, first):
    dataset = make_data(tmp_path / "d", f"{first}\nred\ngreen\nblue\nnever\n", num=3)
    if seen:
        (tmp_path / "d/seen.txt").write_text(seen)
        dataset = FolderDataset(tmp_path / "d")
    model = ColourSegmenter()
    expected, report = direct(model, dataset, **changes), evaluate(model, dataset, **changes)
    for metric in METRICS:
        assert getattr(report.scores, metric.key) == getattr(expected, metric.key), metric
    for name in ("iou", "accuracy", "true_pixels", "predicted_pixels"):
        assert np.array_equal(getattr(report.scores, name), getattr(expected, name), equal_nan=True)
    means = [result.headline for result in report.results]
    assert means == [expected.mean_iou, expected.mean_iou_present, expected.mean_iou_all]
    assert [result.protocol.name for result in report.results] == list(EVALUATED)
    assert (report.results[0].split_means is None) == (seen is None)
    if seen:
        found = report.results[0].split_means
        assert found == tuple(getattr(expected, metric.key) for metric in SPLIT_METRICS)
        assert found == tuple(getattr(report.scores, metric.key) for metric in SPLIT_METRICS)


def test_a_report_says_what_made_it_and_has_intervals(tmp_path):
    dataset, model = make_data(tmp_path / "d"), ColourSegmenter()
    report = evaluate(model, str(tmp_path / "d"), short_side=24)
    assert (report.num_images, report.names) == (6, dataset.vocabulary.names)
    assert report.settings["short_side"] == 24
    assert report.settings["data_fingerprint"] == dataset.fingerprint()
    content = report.as_json()
    for entry in content["protocols"]:
        assert entry["interval"][0] < entry["score"] < entry["interval"][1]
        assert entry[entry["metric"]] == entry["score"]
    assert content["num_missing"] == 0


def test_intervals_are_drawn_only_when_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "intervals", lambda *_, **__: pytest.fail("drawn"))
    report = evaluate(ColourSegmenter(), make_data(tmp_path / "d", num=2))
    assert not math.isnan(report.scores.mean_iou)
    with pytest.raises(BaseException, match="drawn"):
        report.as_json()


def test_an_image_without_labels_is_named_before_it_is_segmented(tmp_path, monkeypatch):
    make_data(tmp_path / "d", num=2)
    (tmp_path / "d/labels/0.png").unlink()
    model = ColourSegmenter()
    monkeypatch.setattr(model, "encode", lambda *_, **__: pytest.fail("segmented"))
    with pytest.raises(DatasetError, match=r"scoring .*0\.png: found no label map for it.*--labelled-only"):
        evaluate(model, FolderDataset(tmp_path / "d"))


def test_predictions_in_memory_read_like_a_store(tmp_path):
    dataset = make_data(tmp_path / "d", num=3)
    store = predict_in_memory(ColourSegmenter(), dataset)
    assert (store.stems, len(store), store.missing) == (dataset.stems, 3, [])
    assert [image.stem for image in store] == dataset.stems
    assert "0" in store
    assert "9" not in store
    assert store["0"].top is None
    store.refuse_missing("scoring", partial=False)


def test_each_score_has_one_name():
    numbers = {name for name, kind in Scores.__annotations__.items() if kind in (float, float | None)}
    keys = [metric.key for metric in (*METRICS, *SPLIT_METRICS)]
    assert set(keys) == numbers
    assert len(set(keys)) == len(keys)
    assert set(AVERAGES.values()) == {metric for metric in METRICS if metric.convention}


def test_a_label_map_of_another_size_than_its_image_is_refused(tmp_path):
    dataset = make_data(tmp_path / "d", num=1)
    Image.new("L", (5, 5)).save(tmp_path / "d/labels/0.png")
    with pytest.raises(DatasetError, match="5×5"):
        evaluate(ColourSegmenter(), dataset)


def test_masks_saved_black_and_white_are_warned_of(tmp_path):
    make_data(tmp_path)
    for file in (tmp_path / "labels").glob("*.png"):
        labels = np.asarray(Image.open(file))
        Image.fromarray(np.where(labels == labels.min(), 0, 255).astype(np.uint8)).save(file)
    with pytest.warns(UserWarning, match="masks saved black and white"):
        evaluate(ColourSegmenter(), tmp_path)
