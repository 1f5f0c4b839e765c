"""What ``lexiseg.load`` takes as a name, and how a method's settings are changed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lexiseg
from lexiseg.core.errors import DatasetError, InputError, MissingWeightsError, UnknownNameError
from lexiseg.recipes.base import find_recipe
from lexiseg.runs.load import MODEL_KINDS, find_kind
from lexiseg.runs.train import train_recipe
from tiny_bank import save_tiny_bank
from tiny_checkpoints import save_tiny_siglip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "simseg"
    recipe = find_recipe("simseg/tiny")
    recipe = replace(recipe, run=replace(recipe.run, num_steps=1))
    train_recipe("simseg/tiny", recipe=recipe, out=folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Path:
    return save_tiny_bank(tmp_path_factory.mktemp("banks") / "my.bank", ["cat", "dog"])


def test_a_path_is_a_name(tmp_path):
    folder = save_tiny_siglip(tmp_path / "siglip")
    assert lexiseg.load(folder, device="cpu").name == str(folder)


def test_a_path_that_is_no_checkpoint_is_unknown_or_missing(tmp_path):
    with pytest.raises(UnknownNameError, match="Nearest: mini") as unknown:
        lexiseg.load(Path("minni"))
    assert all(kind.summary in unknown.value.expected for kind in MODEL_KINDS[1:])
    with pytest.raises(MissingWeightsError, match="found no folder of that name"):
        lexiseg.load(tmp_path / "absent")


@pytest.mark.parametrize("name", [None, 3, b"mini", ["mini"]])
@pytest.mark.usefixtures("without_type_checker")
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InputError, match=rf"a {type(name).__name__}; expected a name, a hub id or the path"):
        lexiseg.load(name)


def test_each_kind_of_string_is_recognised_by_what_lies_there(run, bank, tmp_path, monkeypatch):
    other = shutil.copy(bank, tmp_path / "a bank without an ending")
    (tmp_path / "half.parts").mkdir()
    strings = {
        "mini": "registered name",
        str(run): "run",
        str(bank): "reference bank",
        str(other): "reference bank",
        str(tmp_path / "half"): "reference bank",
        "absent.bank": "reference bank",
        str(save_tiny_siglip(tmp_path / "siglip")): "checkpoint",
        str(tmp_path / "siglip" / "model.safetensors"): "checkpoint",
        "openai/clip-vit-base-patch16": "checkpoint",
        "a" * 5000 + "/b": "checkpoint",
        "/": "checkpoint",
        "..": "checkpoint",
        "~nobody-of-that-name/clip": "checkpoint",
    }
    assert {name: find_kind(name).name for name in strings} == strings
    monkeypatch.chdir(bank.parent)
    assert find_kind("my.bank").name == "reference bank"
    assert find_kind("mini").name == "registered name"


def test_a_bank_is_a_model_whose_settings_are_recorded(bank):
    model = lexiseg.load(bank, method_settings={"temperature": 1, "missing_words": "leave_out"}, device="cpu")
    assert model.name == str(bank)
    assert model.method_settings["temperature"] == 1.0
    assert model.describe("cat, unicorn")["settings"]["method"]["missing_words"] == "leave_out"
    model.check_vocabulary(lexiseg.Vocabulary.parse("cat, unicorn"))


def test_the_proposer_of_a_bank_is_one_of_its_settings(bank, tmp_path):
    with pytest.raises(MissingWeightsError, match="absent"):
        lexiseg.load(bank, method_settings={"proposer": str(tmp_path / "absent")}, device="cpu")


def test_a_bank_that_is_not_there_or_damaged_says_so(bank, tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        lexiseg.load(tmp_path / "no.bank")
    cut = tmp_path / "cut"
    cut.write_bytes(bank.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="not whole"):
        lexiseg.load(cut)


def test_what_comes_after_training_can_be_changed_and_is_recorded(run):
    plain = lexiseg.load(run, device="cpu")
    model = lexiseg.load(run, method_settings={"masks.closing": 3, "testing.pooling": "mean"}, device="cpu")
    assert (plain.method.masks.closing, model.method.masks.closing) == (7, 3)
    assert model.method_settings["masks"]["closing"] == 3
    assert model.method_settings["weights"] == plain.method_settings["weights"]
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        first, second = plain.encode_images(images), model.encode_images(images)
    assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(first.global_token, second.global_token), "another pooling gives other vectors"


@pytest.mark.parametrize("name", ["embedding_dim", "training.padding", "initial_temperature"])
def test_what_the_weights_were_trained_with_cannot(run, name):
    value = {"embedding_dim": 64, "training.padding": "masked", "initial_temperature": 0.2}[name]
    with pytest.raises(InputError, match=rf"changing the setting {name} .*masks.closing.*Train again"):
        lexiseg.load(run, method_settings={name: value})


@pytest.mark.parametrize(
    ("arguments", "new"),
    [
        ({"references": "my.bank"}, r'load\("my.bank"\)'),
        ({"proposer": "classical"}, 'method_settings={"proposer"'),
        ({"method": None}, "method_settings={"),
        ({}, "--model my.bank"),
    ],
)
def test_spellings_of_earlier_versions_name_the_new_one(arguments, new):
    with pytest.raises(InputError, match=rf"a spelling of an earlier version; expected .*{new}"):
        lexiseg.load("rim", **arguments)


def test_any_other_argument_is_told_with_the_nearest():
    with pytest.raises(InputError, match=r"argument of load 'devise'.*Nearest: device"):
        lexiseg.load("mini", devise="cpu")
