"""``lexiseg predict``, ``score``, ``calibrate`` and ``protocols``, and one real kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset_trees as trees
from lexiseg.cli import main
from lexiseg.data.datasets import open_dataset
from lexiseg.runs.load import MODELS
from lexiseg.scoring.published import PROTOCOLS
from lexiseg.scoring.store.store import PredictionStore
from toy_segmenter import registered

PAINT = np.array([(90, 90, 90), (255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def message(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("background\nred\ngreen\nblue\n")
    generator = np.random.default_rng(0)
    for index in range(8):
        labels = np.kron(generator.integers(0, 4, (3, 4)), np.ones((9, 10))).astype(np.uint8)
        noise = generator.integers(-60, 60, (*labels.shape, 3))
        Image.fromarray(np.clip(PAINT[labels] + noise, 0, 255).astype(np.uint8)).save(
            folder / f"images/{index}.png"
        )
        Image.fromarray(labels).save(folder / f"labels/{index}.png")
    (folder / "train.txt").write_text("0\n1\n2\n3\n")
    return folder


@pytest.fixture
def store(data, tmp_path) -> Path:
    assert run("predict", "colours", "--data", data, "--out", tmp_path / "store") == 0
    return tmp_path / "store"


def test_one_store_is_scored_many_ways_beside_what_evaluate_says(data, store, tmp_path, capsys):
    run("evaluate", "colours", "--data", data, "--json", tmp_path / "evaluated.json")
    capsys.readouterr()
    arguments = ["score", store, "--protocol", "mmseg", "present-only", "without-background", "boundary"]
    assert run(*arguments, "--json", tmp_path / "r.json", "--plot", tmp_path / "r.png") == 0
    printed = capsys.readouterr().out
    content, evaluated = (json.loads((tmp_path / name).read_text()) for name in ("r.json", "evaluated.json"))
    by_name = {entry["name"]: entry for entry in content["protocols"]}
    assert list(by_name) == ["mmseg", "present-only", "without-background", "boundary"]
    assert by_name["mmseg"] == evaluated["protocols"][0]
    assert content["settings"]["data_fingerprint"] == evaluated["settings"]["data_fingerprint"]
    assert [by_name[name]["num_averaged"] for name in by_name] == [4, 4, 3, 4]
    for entry in content["protocols"]:
        assert entry["interval"][0] <= entry["score"] <= entry["interval"][1]
        assert f"{100 * entry['score']:.2f}" in printed
    assert "3 of 3" in printed
    printed_once = " ".join(printed.split())
    for part in (
        "model colours, short_side 32,",
        "keep_aspect True,",
        "prompts single,",
        "refine none,",
        "split none",
    ):
        assert part in printed_once
    assert f"names {content['names_checksum']}" in printed
    with Image.open(tmp_path / "r.png") as image:
        assert image.width > 1000


def test_equal_seeds_print_equal_intervals(store, tmp_path):
    for name in ("a", "b"):
        run("score", store, "--json", tmp_path / name, "--resamples", 50, "--seed", 7)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


@pytest.mark.exhaustive
def test_two_stores_are_compared_class_by_class(data, store, tmp_path, capsys):
    run("predict", "colours", "--data", data, "--out", tmp_path / "small", "--short-side", 8)
    capsys.readouterr()
    assert run("score", tmp_path / "small", store, "--protocol", "mmseg", "--json", tmp_path / "d.json") == 0
    printed = capsys.readouterr().out
    (found,) = json.loads((tmp_path / "d.json").read_text())["differences"]
    assert found["difference"] > 0
    assert found["interval"][0] > 0
    assert "mean IoU (clear)" in printed
    assert {entry["name"] for entry in found["per_class"]} == {"background", "red", "green", "blue"}


def test_partial_store_is_scored_only_when_asked_for_and_the_report_says_so(store, tmp_path, capsys):
    shard = store / "shard-000.runs"
    shard.write_bytes(shard.read_bytes()[:-10])
    assert run("score", store) == 2
    text = message(capsys)
    assert "1 of 8 images missing (7)" in text
    assert "shard-000.runs has half a block at its end" in text
    assert "Run the same lexiseg predict command again" in text
    assert "--partial" in text
    assert run("score", store, "--partial", "--json", tmp_path / "r.json") == 0
    assert "1 of 8 images are missing: 7" in capsys.readouterr().out
    content = json.loads((tmp_path / "r.json").read_text())
    assert (content["num_images"], content["num_missing"]) == (7, 1)


@pytest.mark.exhaustive
def test_truth_mended_since_is_read_from_the_data(data, store, tmp_path):
    run("score", store, "--json", tmp_path / "before.json")
    for index in range(8):
        Image.fromarray(np.full((27, 40), 1, np.uint8)).save(data / f"labels/{index}.png")
    run("score", store, "--json", tmp_path / "same.json")
    run("score", store, "--data", data, "--json", tmp_path / "after.json")
    before, same, after = (
        json.loads((tmp_path / f"{name}.json").read_text())["protocols"][0]
        for name in ("before", "same", "after")
    )
    assert before["score"] == same["score"]
    assert after["per_class"][1]["true_pixels"] == 8 * 27 * 40


def test_store_of_another_vocabulary_or_size_is_refused_with_data(data, store, capsys):
    (data / "classes.txt").write_text("background\nred\nblue\ngreen\n")
    assert run("score", store, "--data", data) == 2
    text = message(capsys)
    assert "predictions made for 4 classes, 'green' where the data has 'blue'" in text
    assert "Run lexiseg predict again for this data set" in text
    (data / "classes.txt").write_text("background\nred\ngreen\nblue\n")
    Image.new("RGB", (20, 10)).save(data / "images/3.png")
    Image.new("L", (20, 10)).save(data / "labels/3.png")
    assert run("score", store, "--data", data) == 2
    text = message(capsys)
    assert "scoring '3' of" in text
    assert "a prediction of 27×40 (height × width) for a truth of 10×20" in text


def test_image_that_the_data_lacks_is_named(data, store, capsys):
    for name in ("images", "labels"):
        (data / name / "5.png").unlink()
    assert run("score", store, "--data", data) == 2
    assert "1 predicted images that the data set lacks: 5" in message(capsys)


def test_going_on_with_other_settings_is_refused(data, store, capsys):
    assert run("predict", "colours", "--data", data, "--out", store, "--short-side", 8) == 2
    assert "short_side = 32 instead of 8" in message(capsys)


def test_threshold_is_decided_anew_and_shows_in_the_name(store, capsys):
    assert run("score", store, "--protocol", "mmseg", "--threshold", -0.4) == 0
    printed = capsys.readouterr().out
    assert "mmseg+background=threshold+threshold=-0.4" in printed
    assert "background decided again at -0.4 from the stored scores" in printed


def test_calibrate_prints_the_options_to_freeze(data, store, tmp_path, capsys):
    assert run("calibrate", store) == 2
    assert "expected a training split" in message(capsys)
    run("predict", "colours", "--data", data, "--split", "train", "--out", tmp_path / "train")
    capsys.readouterr()
    assert run("calibrate", tmp_path / "train") == 0
    assert "best: --background threshold --threshold -0." in capsys.readouterr().out


def test_export_writes_masks_of_all_images(store, tmp_path, capsys):
    assert run("export", store, tmp_path / "masks.json") == 0
    assert "masks of 8 images" in capsys.readouterr().out
    assert {entry["image_id"] for entry in json.loads((tmp_path / "masks.json").read_text())} == set(range(8))


def test_protocols_lists_all_and_shows_every_choice_of_one(capsys):
    assert run("protocols") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in PROTOCOLS)
    assert run("protocols", "groupvit-voc") == 0
    assert "threshold        0.95" in capsys.readouterr().out
    assert run("score", "nowhere", "--protocol", "voc-20") == 2
    assert "Nearest: voc20" in message(capsys)


@pytest.mark.exhaustive
def test_a_killed_prediction_keeps_whole_blocks_and_the_same_command_goes_on(tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    for index in range(300):
        Image.fromarray(np.roll(noise, index)).save(folder / f"images/{index:03}.png")
    out = tmp_path / "store"
    code = "import lexiseg.cli, lexiseg.runs.load, toy_segmenter as toy;"
    code += "lexiseg.runs.load.MODELS['colours'] = toy.registered(); lexiseg.cli.main()"
    command = [sys.executable, "-c", code, "predict", "colours", "--data", str(folder), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    shard, deadline = out / "shard-000.runs", time.monotonic() + 120
    while not (shard.exists() and shard.stat().st_size):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "no prediction within two minutes"
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
    finished = PredictionStore(out)
    assert 0 < len(finished) < 300
    kept = shard.read_bytes()[: sum(place.size for s in finished._shards.values() for place in s.places)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert f"{300 - len(finished)} predicted now, 300 of 300 images" in done.stdout
    assert shard.read_bytes().startswith(kept)
    assert not PredictionStore(out).missing


@pytest.mark.exhaustive
def test_data_is_opened_anew_as_it_was_predicted_and_named_in_the_json(data, tmp_path, capsys):
    """Label files that start at one, one image without a label file."""
    (data / "classes.txt").write_text("red\ngreen\nblue\n")
    (data / "labels/7.png").unlink()
    out, moved = tmp_path / "reduced", tmp_path / "moved"
    options = ("--data", data, "--labelled-only", "--reduce-zero")
    assert run("predict", "colours", *options, "--out", out) == 0
    data.rename(moved)
    for name, more in (("stored", ()), ("read", ("--data", moved))):
        assert run("score", out, *more, "--json", tmp_path / name) == 0
    stored, read = (json.loads((tmp_path / name).read_text()) for name in ("stored", "read"))
    assert stored["num_images"] == 7
    assert [entry["per_class"] for entry in stored["protocols"]] == [
        entry["per_class"] for entry in read["protocols"]
    ]
    assert stored["settings"]["data_fingerprint"] == read["settings"]["data_fingerprint"]
    Image.fromarray(np.full((27, 40), 1, np.uint8)).save(moved / "labels/0.png")
    capsys.readouterr()
    assert run("score", out, "--data", moved, "--json", tmp_path / "mended") == 0
    assert f"true label maps read in {moved}" in capsys.readouterr().out
    settings = json.loads((tmp_path / "mended").read_text())["settings"]
    assert (settings["data"], settings["predicted_data"]) == (str(moved), str(data))
    assert settings["dataset"] == "folder"
    assert settings["predicted_data_fingerprint"] == stored["settings"]["data_fingerprint"]
    assert settings["data_fingerprint"] != stored["settings"]["data_fingerprint"]


@pytest.mark.exhaustive
def test_a_published_copy_is_opened_anew_by_name_and_form(tmp_path):
    copy = trees.voc(tmp_path / "voc", background=True).path
    out = tmp_path / "store"
    assert run("predict", "colours", "--data", copy, "--dataset", "voc21", "--out", out) == 0
    opened = PredictionStore(out).manifest.opened_with
    assert opened == {"dataset": "voc21", "layout": open_dataset("voc21", copy).layout.name}
    for name, more in (("stored", ()), ("read", ("--data", copy))):
        assert run("score", out, *more, "--json", tmp_path / name) == 0
    stored, read = (json.loads((tmp_path / name).read_text()) for name in ("stored", "read"))
    assert stored["settings"]["dataset"] == read["settings"]["dataset"] == "voc21"
    assert stored["protocols"] == read["protocols"]


@pytest.mark.parametrize("option", ["--dataset", "--split"])
def test_options_of_data_that_is_not_named_are_refused(store, option, capsys):
    assert run("score", store, option, "val") == 2
    text = message(capsys)
    assert "--dataset or --split without --data" in text
    assert "name the folder of the data set with --data" in text


def test_calibrate_takes_a_partial_store_only_when_asked_to(data, tmp_path, capsys):
    out = tmp_path / "train"
    run("predict", "colours", "--data", data, "--split", "train", "--out", out, "--shard", "0/2")
    capsys.readouterr()
    assert run("calibrate", out) == 2
    text = message(capsys)
    assert "2 of 4 images missing (1, 3)" in text
    assert "--partial takes what is there" in text
    assert run("calibrate", out, "--partial") == 0
    assert "2 images of train" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_a_store_that_does_not_know_its_data_set_asks_for_the_name(data, store, capsys):
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest.pop("opened_with") == {"dataset": "folder", "labels": "optional", "reduce_zero": False}
    (store / "manifest.json").write_text(json.dumps(manifest))
    assert run("score", store, "--data", data) == 2
    assert "a store that does not say which data set was predicted" in message(capsys)
    assert run("score", store, "--data", data, "--dataset", "folder") == 0
