"""``lexiseg evaluate``, ``models`` and ``doctor``, and one real interrupt."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli import doctor, main
from lexiseg.cli.result_folder import REQUEST_FILE
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.models import pip_weights
from lexiseg.runs.bulk.states import STATES_FILE
from lexiseg.runs.known_models import known_models
from lexiseg.runs.load import MODELS
from toy_segmenter import COLOURS, ColourSegmenter, registered

KEYS = {
    "store", "lexiseg", "split", "names_checksum", "num_images", "num_missing", "num_trained_on",
    "num_duplicates", "failed", "settings", "protocols",
}  # fmt: skip


def read(path: Path) -> tuple[dict, dict]:
    """Read a report, and its scores under mmseg."""
    report = json.loads(path.read_text())
    assert [entry["name"] for entry in report["protocols"]] == ["mmseg", "present-only", "all-classes"]
    return report, report["protocols"][0]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())


@pytest.fixture
def data(tmp_path) -> Path:
    """Make four labelled images of colours the model knows, one of them with a void half."""
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    for label, name in enumerate(("red", "green", "blue")):
        image = np.full((16, 24, 3), COLOURS[name], np.uint8) * 255
        Image.fromarray(image).save(folder / f"images/{name}.png")
        truth = np.full((16, 24), label, np.uint8)
        if name == "blue":
            truth[:, :12] = 255
            truth[:8, 12:] = 0  # a quarter of the image is wrongly "red" in the truth
        Image.fromarray(truth).save(folder / f"labels/{name}.png")
    return folder


def test_report_holds_exactly_the_agreed_keys_and_the_right_numbers(data, tmp_path, capsys):
    out = tmp_path / "report.json"
    assert run("evaluate", "colours", "--data", data, "--json", out) == 0
    report, scores = read(out)
    assert set(report) == KEYS
    red, green, blue = 384 / (384 + 96), 1.0, 96 / 192
    assert scores["mean_iou"] == pytest.approx((red + green + blue) / 3)
    assert scores["pixel_accuracy"] == pytest.approx((384 + 384 + 96) / (384 + 384 + 192))
    assert (scores["num_classes"], report["num_images"]) == (3, 3)
    assert report["settings"]["model"] == "colours"
    assert report["settings"]["data_fingerprint"]
    printed = capsys.readouterr().out
    for entry in report["protocols"]:
        assert f"{100 * entry['score']:.2f}" in printed
    for convention in ("mmseg", "detectron2", "ImageNet-S", "mean accuracy"):
        assert convention in printed


@pytest.mark.exhaustive
def test_unrefined_prints_and_writes_both_numbers(data, tmp_path, capsys):
    out, plain = tmp_path / "both.json", tmp_path / "plain.json"
    assert run("evaluate", "colours", "--data", data, "--refine", "crf", "--unrefined", "--json", out) == 0
    printed = capsys.readouterr().out
    assert run("evaluate", "colours", "--data", data, "--refine", "none", "--json", plain) == 0
    both = json.loads(out.read_text())
    assert set(both) == KEYS | {"unrefined"}
    assert both["settings"]["refine"] == "crf"
    assert both["unrefined"] == json.loads(plain.read_text())
    assert f"mean_iou with --refine crf: {100 * both['protocols'][0]['mean_iou']:.2f} %" in printed
    assert (
        f"mean_iou with --refine none: {100 * both['unrefined']['protocols'][0]['mean_iou']:.2f} %" in printed
    )


def test_unrefined_without_a_refinement_is_refused(data, capsys):
    assert run("evaluate", "colours", "--data", data, "--refine", "none", "--unrefined") == 2
    assert "a refinement to compare with" in capsys.readouterr().err


def test_split_of_seen_and_unseen_adds_its_three_keys(data, tmp_path):
    (data / "seen.txt").write_text("red\ngreen\n")
    out = tmp_path / "report.json"
    run("evaluate", "colours", "--data", data, "--json", out)
    _, report = read(out)
    assert report["seen_mean_iou"] == pytest.approx(0.9)
    assert report["unseen_mean_iou"] == pytest.approx(0.5)
    assert report["harmonic_iou"] == pytest.approx(2 * 0.9 * 0.5 / 1.4)


def test_appended_background_is_a_miss(data, tmp_path):
    out = tmp_path / "report.json"
    run("evaluate", "colours", "--data", data, "--json", out, "--background", "threshold", "--threshold", 99)
    _, report = read(out)
    assert report["pixel_accuracy"] == 0
    assert all(entry["predicted_pixels"] == 0 for entry in report["per_class"])


def test_missing_pair_is_refused_and_may_be_left_out(data, tmp_path, capsys):
    (data / "labels/green.png").unlink()
    assert run("evaluate", "colours", "--data", data) == 2
    message = capsys.readouterr().err
    assert "1 of 3 images without a label file: green" in " ".join(message.split())
    assert run("evaluate", "colours", "--data", data, "--labelled-only", "--json", tmp_path / "r.json") == 0
    assert json.loads((tmp_path / "r.json").read_text())["num_images"] == 2


def test_label_map_of_another_size_is_named(data, capsys):
    Image.new("L", (5, 5)).save(data / "labels/green.png")
    assert run("evaluate", "colours", "--data", data) == 1, "the others are scored"
    said = capsys.readouterr()
    message = " ".join((said.out + said.err).split())
    assert "green.png" in message
    assert "16" in message
    assert "5" in message


def test_models_lists_licences(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert run("models") == 0
    printed = capsys.readouterr().out
    for word in ("mini", "Apache-2.0", "openai/clip-vit-base-patch16", "MIT", "MB"):
        assert word in printed


def test_doctor_is_content_with_this_machine(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert run("doctor") == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    for word in ("torch", "threads", "SHA-256 as published", "Apache-2.0", "torchvision"):
        assert word in printed


def test_doctor_names_altered_weights_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(pip_weights.PipWeights, "state", lambda self: "altered")
    monkeypatch.setenv("COLUMNS", "160")
    assert run("doctor") == 1
    assert "not the published file" in capsys.readouterr().out


def test_doctor_names_a_torchvision_that_does_not_import(tmp_path, monkeypatch):
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    (check,) = [check for check in doctor.examine() if check.name == "torchvision"]
    assert check.state == "bad"
    assert "nms does not exist" in check.found
    assert "pip uninstall torchvision" in check.fix


def test_every_known_model_says_how_to_get_it():
    for model in known_models():
        assert model.licence
        assert model.megabytes > 0 or not model.parts
        assert model.name in model.how_to_get or "pip install" in model.how_to_get


@pytest.mark.parametrize("name", ["mini", "colours"])
def test_models_lists_the_settings_of_a_models_method(name, capsys):
    assert run("models", name) == 0
    printed = capsys.readouterr().out
    if name == "mini":
        assert "--set temperature=1.5\n      number. Divides the summed logits before the softmax." in printed
        assert printed.count("--set ") == len(dataclasses.fields(ConSESettings))
    else:
        assert "Nothing of its method can be set." in printed


@pytest.mark.exhaustive
def test_ctrl_c_leaves_only_whole_results_and_the_same_command_goes_on(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    total = 60  # enough that a busy machine is not done before it is told to stop
    photos.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    for index in range(total):
        Image.fromarray(np.roll(noise, index)).save(photos / f"{index:02}.jpg")
    command = [
        sys.executable,
        "-m",
        "lexiseg",
        "segment",
        str(photos),
        "--words",
        "cat, dog",
        "--out",
        str(out),
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.json")):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "no result within two minutes"
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, message = running.communicate(timeout=60)
    assert running.returncode == 130, message
    finished = sorted(path.stem for path in out.glob("*.json"))
    assert 0 < len(finished) < total
    for stem in finished:
        json.loads((out / f"{stem}.json").read_text())
        with Image.open(out / f"{stem}.labels.png") as labels:
            assert np.asarray(labels).shape == (300, 300)
    hidden = {path.name for path in out.iterdir() if path.name.startswith(".")}
    assert hidden == {REQUEST_FILE, STATES_FILE}  # and nothing half written
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{total - len(finished)} segmented, {len(finished)} already there, 0 failed" in done.stdout
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert len(after) == total
    assert before.items() <= after.items()


def test_a_report_that_cannot_be_written_is_known_before_the_run(data, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(ColourSegmenter, "encode_images", None)  # nothing may be segmented
    assert run("evaluate", "colours", "--data", data, "--json", tmp_path / "file" / "r.json") == 2
    assert "--json" in capsys.readouterr().err


def test_labels_that_start_at_one_are_read_with_reduce_zero(data, tmp_path):
    for path in (data / "labels").iterdir():
        labels = np.asarray(Image.open(path)).astype(np.uint8)
        Image.fromarray(np.where(labels == 255, 0, labels + 1).astype(np.uint8)).save(path)
    out = tmp_path / "report.json"
    assert run("evaluate", "colours", "--data", data, "--json", out, "--reduce-zero") == 0
    assert read(out)[1]["pixel_accuracy"] == pytest.approx(0.9)


def test_a_published_data_set_is_scored_in_its_own_layout(tmp_path, capsys):
    from dataset_trees import voc

    tree = voc(tmp_path, background=False)
    root = tree.path
    assert (
        run("evaluate", "colours", "--data", root, "--dataset", "voc20", "--json", tmp_path / "r.json") == 0
    )
    report, scores = read(tmp_path / "r.json")
    assert (scores["num_classes"], report["split"]) == (20, "val")
    assert run("evaluate", "colours", "--data", root, "--dataset", "voc20", "--reduce-zero") == 2
    assert "by its own rule" in capsys.readouterr().err


def test_python_scores_a_path_and_names_a_image_without_labels(data):
    import lexiseg

    model = ColourSegmenter()
    assert lexiseg.evaluate(model, data).scores.pixel_accuracy == pytest.approx(0.9)
    (data / "labels/green.png").unlink()
    with pytest.raises(lexiseg.DatasetError, match=r"green.png.*no label map"):
        lexiseg.evaluate(model, lexiseg.FolderDataset(data))
