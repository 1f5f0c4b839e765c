"""One string names a model, one flag changes its method: for every command that takes a model."""

import importlib.util
import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli import main
from lexiseg.runs.load import MODELS, RegisteredModel
from lexiseg.scoring.store.store import PredictionStore
from tiny_bank import save_tiny_bank
from toy_segmenter import COLOURS, ColourSegmenter


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@dataclass(frozen=True, kw_only=True)
class ThrowawaySettings:
    """Settings of a method that only this file knows.

    Attributes:
        winner: Whether the nearest or the farthest colour wins.
    """

    winner: Literal["nearest", "farthest"] = "nearest"


class Throwaway(ColourSegmenter):
    def __init__(self, name, method):
        super().__init__()
        self.name, self.method, self.method_settings = name, method, asdict(method)

    def class_scores(self, features, embeddings):
        scores = super().class_scores(features, embeddings)
        return scores if self.method.winner == "nearest" else -scores


@pytest.fixture
def throwaway(monkeypatch):
    line = RegisteredModel(build=Throwaway, settings=ThrowawaySettings, summary="only here")
    monkeypatch.setitem(MODELS, "throwaway", line)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("red\ngreen\n")
    for label, name in enumerate(("red", "green")):
        Image.fromarray(np.full((16, 24, 3), COLOURS[name], np.uint8) * 255).save(
            folder / f"images/{name}.png"
        )
        Image.fromarray(np.full((16, 24), label, np.uint8)).save(folder / f"labels/{name}.png")
    return folder


@pytest.mark.exhaustive
@pytest.mark.usefixtures("throwaway")
@pytest.mark.parametrize(("change", "accuracy"), [((), 1.0), (("--set", "winner=farthest"), 0.0)])
def test_an_option_of_a_method_reaches_every_command(change, accuracy, data, tmp_path, capsys):
    assert run("evaluate", "throwaway", "--data", data, "--json", tmp_path / "r.json", *change) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["protocols"][0]["pixel_accuracy"] == accuracy
    winner = "farthest" if change else "nearest"
    assert report["settings"]["method"] == {"winner": winner}

    store = tmp_path / "store"
    assert run("predict", "throwaway", "--data", data, "--out", store, *change) == 0
    predicted = PredictionStore(store)
    assert predicted.manifest.settings["method"] == {"winner": winner}
    capsys.readouterr()
    assert run("score", store, "--protocol", "mmseg", "--json", tmp_path / "s.json") == 0
    other, others_winner = ((), "nearest") if change else (("--set", "winner=farthest"), "farthest")
    assert run("predict", "throwaway", "--data", data, "--out", store, *other) == 2, "another model's store"

    out = tmp_path / "out"
    options = ("--words", "red, green", "--model", "throwaway", "--out", out)
    assert run("segment", data / "images", *options, *change) == 0
    assert json.loads((out / "red.json").read_text())["settings"]["method"] == {"winner": winner}
    with Image.open(out / "red.labels.png") as labels:
        assert (np.asarray(labels) == (0 if accuracy else 1)).all()
    capsys.readouterr()
    assert run("segment", data / "images", *options, *change) == 0
    assert "2 already there" in capsys.readouterr().out
    assert run("segment", data / "images", *options, *other) == 2, "results of another request"
    assert run("segment", data / "images", *options, *other, "--overwrite") == 0
    assert "already there" not in capsys.readouterr().out
    assert json.loads((out / "red.json").read_text())["settings"]["method"] == {"winner": others_winner}


@pytest.mark.usefixtures("throwaway")
def test_a_wrong_setting_is_refused_before_anything_is_segmented(data, capsys, monkeypatch):
    monkeypatch.setattr(Throwaway, "encode_images", None)
    assert run("evaluate", "throwaway", "--data", data, "--set", "winer=nearest") == 2
    assert "winner=nearest: Whether the nearest or the farthest colour wins" in capsys.readouterr().err
    assert run("evaluate", "throwaway", "--data", data, "--set", "winner=last") == 2
    assert "nearest|farthest" in capsys.readouterr().err
    assert run("models", "throwaway") == 0
    assert "--set winner=nearest" in capsys.readouterr().out


@pytest.mark.exhaustive
@pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None,
    reason="the classical proposer needs scikit-image (extra rim)",
)
def test_a_bank_is_predicted_scored_and_exported_like_any_model(data, tmp_path, capsys):
    bank = save_tiny_bank(tmp_path / "my.bank", ["red", "green"])
    store = tmp_path / "store"
    command = ("predict", bank, "--data", data, "--out", store, "--set", "ranking=cosine")
    assert run(*command, "--set", "num_candidates=2") == 0
    settings = PredictionStore(store).manifest.settings
    assert (settings["model"], settings["method"]["ranking"]) == (str(bank), "cosine")
    assert settings["method"]["num_candidates"] == 2
    assert run("score", store, "--protocol", "mmseg", "present-only", "--json", tmp_path / "s.json") == 0
    assert "reconstruction" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "s.json").read_text())["protocols"]) == 2
    assert run("export", store, tmp_path / "coco.json") == 0
    assert json.loads((tmp_path / "coco.json").read_text())
