import numpy as np
import pytest

from coloured_blocks import make_data
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.row_rle import decode_runs
from lexiseg.data.folder import FolderDataset
from lexiseg.scoring.calibrate import calibrate
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.protocol import Protocol
from lexiseg.scoring.published import find_protocol
from lexiseg.scoring.score import score
from lexiseg.scoring.store.counts import StoreCounter, with_threshold, without_background
from lexiseg.scoring.store.predict import predict_into
from lexiseg.scoring.store.store import PredictionStore
from toy_segmenter import ColourSegmenter


def test_store_holds_what_segment_says_and_the_truth(tmp_path):
    dataset, model = make_data(tmp_path / "d"), ColourSegmenter()
    assert predict_into(model, dataset, tmp_path / "s") == 6
    for sample, image in zip(dataset, PredictionStore(tmp_path / "s"), strict=True):
        expected = model.segment(sample.image, dataset.vocabulary).label_map
        assert np.array_equal(decode_runs(image.predicted, image.size), expected)
        assert np.array_equal(decode_runs(image.true, image.size), sample.label_map)
        assert image.top.labels.shape == (4, 8, 13)  # all four classes, fewer than five
        assert (np.diff(image.top.scores.astype(np.float32), axis=0) <= 0).all()


def test_going_on_does_only_what_is_missing_and_ends_with_the_same_bytes(tmp_path):
    dataset, model = make_data(tmp_path / "d"), ColourSegmenter()
    predict_into(model, dataset, tmp_path / "s")
    shard = tmp_path / "s/shard-000.runs"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert 0 < predict_into(model, dataset, tmp_path / "s") < 6
    assert shard.read_bytes() == whole


def test_processes_share_a_store_by_shards(tmp_path):
    dataset, model = make_data(tmp_path / "d"), ColourSegmenter()
    assert [predict_into(model, dataset, tmp_path / "s", shard=(i, 4)) for i in range(4)] == [2, 2, 1, 1]
    store = PredictionStore(tmp_path / "s")
    assert not store.missing
    assert len(list((tmp_path / "s").glob("shard-*.runs"))) == 4


@pytest.mark.parametrize("background", ["none", "name"])
def test_scores_of_a_store_are_those_of_evaluate(tmp_path, background):
    dataset, model = make_data(tmp_path / "d", "grey\nred\ngreen\nblue\n"), ColourSegmenter()
    predict_into(model, dataset, tmp_path / "s", background=background)
    expected = evaluate(model, dataset, background=background).scores
    found = score(StoreCounter(PredictionStore(tmp_path / "s")), find_protocol("mmseg"), resamples=10)
    assert found.headline == expected.mean_iou
    assert found.scores.mean_iou_present == expected.mean_iou_present
    assert found.scores.pixel_accuracy == expected.pixel_accuracy
    assert np.array_equal(found.scores.iou, expected.iou, equal_nan=True)


def test_threshold_decided_again_is_that_of_segmenting_again(tmp_path):
    dataset, model = make_data(tmp_path / "d"), ColourSegmenter()
    predict_into(model, dataset, tmp_path / "s")
    for sample, image in zip(dataset, PredictionStore(tmp_path / "s"), strict=True):
        expected = model.segment(
            sample.image, dataset.vocabulary, background="threshold", threshold=-0.4
        ).label_map
        found = with_threshold(image, 0, -0.4, paint=0)
        assert 0.05 < (expected == 0).mean() < 0.95
        assert (found == expected).mean() > 0.995


def test_background_dropped_afterwards_is_that_of_segmenting_without_it(tmp_path):
    dataset, model = make_data(tmp_path / "d"), ColourSegmenter()
    predict_into(model, dataset, tmp_path / "s")
    for sample, image in zip(dataset, PredictionStore(tmp_path / "s"), strict=True):
        expected = model.segment(sample.image, "red, green, blue").label_map + 1
        assert (decode_runs(image.predicted, image.size) == 0).any()
        assert (without_background(image, 0) == expected).mean() > 0.995


def test_a_protocol_chooses_names_and_settings_and_drops_a_background_it_does_not_score(tmp_path):
    dataset, model = make_data(tmp_path / "d"), ColourSegmenter()
    protocol = Protocol(
        name="colours20",
        source="test",
        true_background="ignored",
        inference={"short_side": 24, "window": 12, "window_stride": 8},
    )
    predict_into(model, dataset, tmp_path / "s", protocol=protocol)
    store = PredictionStore(tmp_path / "s")
    assert store.manifest.vocabulary == ("red", "green", "blue")
    assert store.manifest.class_of == (1, 2, 3)
    assert store.manifest.settings["window"] == 12
    result = score(StoreCounter(store), protocol, resamples=10)
    assert result.protocol.name == "colours20"
    assert result.names == ("red", "green", "blue")
    assert result.num_averaged == 3
    assert result.headline > 0.7
    for sample, image in zip(dataset, store, strict=True):
        changes = dict(protocol.inference)
        expected = model.segment(sample.image, "red, green, blue", **changes).label_map
        assert np.array_equal(decode_runs(image.predicted, image.size), expected)


def test_calibration_finds_the_threshold_that_segmenting_again_confirms(tmp_path):
    make_data(tmp_path / "d")
    dataset, model = FolderDataset(tmp_path / "d", "train"), ColourSegmenter()
    predict_into(model, dataset, tmp_path / "s")
    found = calibrate(PredictionStore(tmp_path / "s"), find_protocol("mmseg"))
    assert found.split == "train"
    assert found.num_images == 4
    assert max(found.mean_iou) > found.mean_iou[0] + 0.05
    for index in (0, 20, int(np.argmax(found.mean_iou))):
        again = evaluate(model, dataset, background="threshold", threshold=found.thresholds[index])
        assert again.scores.mean_iou == pytest.approx(found.mean_iou[index], abs=0.005)


def test_calibration_refuses_what_is_not_for_training(tmp_path):
    make_data(tmp_path / "d")
    for name in ("val", "val2017", "trainval", "intervals"):
        (tmp_path / f"d/{name}.txt").write_text("4\n5\n")
    for split, message in (
        ("val", "a store of the split 'val'"),
        (None, "a store of all images of a folder"),
        ("val2017", "a store of the split 'val2017'"),
        ("trainval", "a store of the split 'trainval', which contains the images of val"),
    ):
        folder = tmp_path / f"s{split}"
        predict_into(ColourSegmenter(), FolderDataset(tmp_path / "d", split), folder)
        with pytest.raises(InputError, match=f"{message}; expected a training split"):
            calibrate(PredictionStore(folder), find_protocol("mmseg"))
    predict_into(ColourSegmenter(), FolderDataset(tmp_path / "d", "train"), tmp_path / "t")
    predict_into(ColourSegmenter(), FolderDataset(tmp_path / "d", "intervals"), tmp_path / "i")
    assert calibrate(PredictionStore(tmp_path / "i"), find_protocol("mmseg")).num_images == 2
    with pytest.raises(InputError, match="no background among the scored classes"):
        calibrate(PredictionStore(tmp_path / "t"), find_protocol("without-background"))


def test_what_a_changed_background_leaves_without_effect_is_not_taken_from_the_protocol(tmp_path):
    dataset, protocol = make_data(tmp_path / "d", num=1), find_protocol("groupvit-voc")
    protocol = protocol.changed(classes=None, num_classes=None, names="official", short_side=32)
    changes = {"background": "none", "window": None}
    predict_into(ColourSegmenter(), dataset, tmp_path / "s", protocol=protocol, **changes)
    settings = PredictionStore(tmp_path / "s").manifest.settings
    assert [settings[name] for name in ("background", "threshold", "window", "window_stride")] == [
        "none", None, None, None
    ]  # fmt: skip


def test_calibration_takes_a_store_that_lacks_images_only_when_asked_to(tmp_path):
    make_data(tmp_path / "d")
    dataset = FolderDataset(tmp_path / "d", "train")
    predict_into(ColourSegmenter(), dataset, tmp_path / "s", shard=(0, 2))
    store = PredictionStore(tmp_path / "s")
    with pytest.raises(DatasetError, match=r"choosing a background threshold on the store .*2 of 4 images"):
        calibrate(store, find_protocol("mmseg"))
    assert calibrate(store, find_protocol("mmseg"), partial=True).num_images == 2


def test_going_on_with_another_number_of_kept_scores_is_refused(tmp_path):
    dataset = make_data(tmp_path / "d", num=2)
    predict_into(ColourSegmenter(), dataset, tmp_path / "s", top=2, shard=(0, 2))
    with pytest.raises(InputError, match="top = 2 instead of 3"):
        predict_into(ColourSegmenter(), dataset, tmp_path / "s", top=3, shard=(1, 2))
