import json

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from lexiseg.cli.classify import Classify
from lexiseg.cli.retrieve import Retrieve
from lexiseg.core.errors import DatasetError
from lexiseg.recipes import simseg
from lexiseg.runs.classification import classify_folders
from toy_segmenter import ColourSegmenter


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return simseg.tiny().build_model().eval()


@pytest.fixture
def folder(tmp_path):
    """Write two classes that an image's brightness tells apart."""
    for part, seed in (("train", 0), ("test", 1)):
        generator = np.random.default_rng(seed)
        for name, bright in (("star", 40), ("ring", 200)):
            for index in range(8):
                path = tmp_path / part / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = generator.normal(bright, 20, (30, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    return tmp_path


def test_a_probe_tells_apart_what_frozen_features_show(model, folder):
    found = classify_folders(model, folder / "test", train=folder / "train", views=2)
    assert set(found) == {"zero-shot", "linear probe"}
    assert found["linear probe"][1] >= 0.9
    assert found["zero-shot"][2] == 1.0


def test_without_images_to_train_on_there_is_no_probe(model, folder):
    assert set(classify_folders(model, folder / "test")) == {"zero-shot"}


def test_other_classes_to_train_on_are_refused(model, folder):
    (folder / "train" / "ring").rename(folder / "train" / "house")
    with pytest.raises(
        DatasetError, match=r"found the classes house, star; expected those of .*: ring, star"
    ):
        classify_folders(model, folder / "test", train=folder / "train")


def test_the_commands_print_and_write_their_scores(model, folder, monkeypatch, capsys):
    monkeypatch.setattr("lexiseg.cli.classify.load_segmenter", lambda *_, **__: model)
    report = folder / "scores.json"
    arguments = [
        "run",
        "--images",
        str(folder / "test"),
        "--train",
        str(folder / "train"),
        "--json",
        str(report),
    ]
    assert tyro.cli(Classify, args=arguments).run() == 0
    assert "linear probe" in capsys.readouterr().out
    assert json.loads(report.read_text())["zero-shot"]["2"] == 1.0

    captions = folder / "captions"
    captions.mkdir()
    (captions / "images").mkdir()
    lines = []
    for index, file in enumerate(sorted((folder / "test").rglob("*.png"))):
        (captions / "images" / f"{index}.png").write_bytes(file.read_bytes())
        lines.append(f"{index}\ta photo of a {file.parent.name}\n")
    (captions / "captions.tsv").write_text("".join(lines))
    monkeypatch.setattr("lexiseg.cli.retrieve.load_segmenter", lambda *_, **__: model)
    assert tyro.cli(Retrieve, args=["run", "--captions", str(captions), "--json", str(report)]).run() == 0
    assert "RSUM" in capsys.readouterr().out
    assert json.loads(report.read_text())["num_images"] == 16


def test_a_model_without_vectors_of_images_is_refused(folder):
    with pytest.raises(ValueError, match="a CLIP or SigLIP checkpoint, or a run of SimSeg"):
        classify_folders(ColourSegmenter(), folder / "test")
