import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from lexiseg.cli.classify import Classify
from lexiseg.cli.retrieve import Retrieve
from lexiseg.core.errors import DatasetError
from lexiseg.data.class_lists import names_of_wnids
from lexiseg.data.folder_lists import read_class_folders
from lexiseg.recipes import simseg
from lexiseg.runs import classification
from lexiseg.runs.classification import ProbeSettings, classify_folders, linear_probe, logistic_regression
from lexiseg.scoring.image_text import fit_image, probe_vector, usual_fit
from toy_segmenter import ColourSegmenter

#: Few steps: a test need not train as long as the paper.
QUICK = ProbeSettings(num_epochs=4, warmup_epochs=1, total_lr_steps=(12.8 * 3516, 12.8 * 352))


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
    found = classify_folders(model, folder / "test", train=folder / "train", views=2, probe=QUICK)
    assert set(found) == {"zero-shot", "linear probe", "logistic regression"}
    assert found["linear probe"][1] >= 0.9
    assert found["logistic regression"][1] >= 0.9
    assert found["zero-shot"][2] == 1.0


def test_a_truncated_image_is_named_and_the_others_are_scored(model, folder):
    for part in ("train", "test"):
        file = folder / part / "ring/3.png"
        file.write_bytes(file.read_bytes()[:60])
    notes = []
    found = classify_folders(
        model, folder / "test", train=folder / "train", views=1, probe=QUICK, notes=notes
    )
    assert found["linear probe"][1] >= 0.9
    assert len(notes) == 2
    assert all("cannot be read and left out" in note and "ring/3.png" in note for note in notes)
    for file in (folder / "test").rglob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(DatasetError, match="found none of 16 that can be read"):
        classify_folders(model, folder / "test")


def test_folders_of_imagenet_ids_ask_for_their_names(folder):
    (folder / "test/ring").rename(folder / "test/n01440764")
    (folder / "test/star").rename(folder / "test/n99999999")
    assert read_class_folders(folder / "test")[0] == ("tench", "n99999999")
    assert len(set(names_of_wnids().values())) == 1000


def test_images_are_cropped_as_the_released_protocol_does_or_squashed():
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, 60:] = 255
    image[:, :10] = 128
    squashed, cropped = (fit_image(image, 32, fit) for fit in ("squash", "crop"))
    assert squashed.shape == cropped.shape == (3, 32, 32)
    assert squashed[0, 0, 0] == pytest.approx(0.5, abs=0.01)
    assert cropped[0, 0, 0] == 0  # the rim is cut off
    assert cropped[0, 0, -1] == 1
    large = fit_image(np.zeros((400, 500, 3), np.uint8), 288, "crop")
    assert large.shape == (3, 288, 288)


def test_simseg_crops_unless_told(model):
    assert usual_fit(model) == "crop"


def test_the_total_of_the_rate_is_the_best_on_images_that_are_held_out(monkeypatch):
    tried = []

    def fit(features, labels, num_classes, settings, total):
        tried.append((total, features.shape[1]))
        return lambda tested: torch.nn.functional.one_hot(tested[:, 0].long(), 4).float() * (total == 2.0)

    monkeypatch.setattr(classification, "_fit_probe", fit)
    labels = torch.arange(40) % 4
    features = labels[:, None].float()
    settings = ProbeSettings(total_lr_steps=(1.0, 2.0, 3.0))
    parts = (features[None], labels, features, labels)
    assert linear_probe(*parts, num_classes=4, settings=settings)[1] == 1.0
    assert tried == [(1.0, 32), (2.0, 32), (3.0, 32), (2.0, 40)]
    tried.clear()
    linear_probe(*parts, num_classes=4, settings=replace(settings, many_images=40))
    assert tried == [(1.0, 40)]  # the published one, where there are as many images as that was made for


def test_logistic_regression_learns_what_is_linear():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 8, generator=generator)
    labels = (features @ torch.randn(8, 3, generator=generator)).argmax(1)
    found = logistic_regression(features[:200], labels[:200], features[200:], labels[200:], num_classes=3)
    assert found[1] > 0.9
    assert found[3] == 1.0


def test_features_of_a_probe_are_those_before_the_projection(model):
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        features = probe_vector(model)(images)
        assert torch.equal(features, model.image_encoder(images).tokens.mean(1))


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
    monkeypatch.setattr(classification, "ProbeSettings", lambda: QUICK)
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
