"""A packed model loads to the same bits, says what it is, and keeps no place of the machine it was made on."""

import json

import pytest
import torch

from lexiseg.cli import main
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.models.checkpoint import fingerprint
from lexiseg.runs.licences import list_parts
from lexiseg.runs.load import find_kind, load
from lexiseg.runs.pack import pack
from small_models import fitted, trained
from tiny_checkpoints import save_tiny_clip

KINDS = {"run": trained, "head": fitted, "checkpoint": lambda folder: save_tiny_clip(folder / "clip")}
REPORT = {
    "settings": {"dataset": "folder"},
    "split": "val",
    "num_images": 3,
    "protocols": [{"name": "plain", "metric": "mean_iou", "score": 0.25, "interval": [0.2, 0.31]}],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {kind: make(tmp_path_factory.mktemp(kind)) for kind, make in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_model_is_the_same_bits_and_the_same_kind(models, tmp_path, kind):
    model, out = models[kind], tmp_path / "packed"
    pack(str(model), out)
    assert find_kind(str(out)).name == kind
    assert {"config.json", "model.safetensors", "README.md"} <= {file.name for file in out.iterdir()}
    own, other = (load(each, device="cpu") for each in (model, out))
    assert fingerprint(own) == fingerprint(other)
    tensors = other.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in own.state_dict().items())
    assert own.settings == other.settings
    pack(str(out), tmp_path / "again")
    assert (tmp_path / "again/config.json").read_bytes() == (out / "config.json").read_bytes()


def test_the_card_says_numbers_with_intervals_licences_data_and_command(models, tmp_path, capsys):
    (tmp_path / "r.json").write_text(json.dumps(REPORT))
    with pytest.raises(SystemExit) as stopped:
        main(
            f"pack {models['run']} --out {tmp_path}/my-run --report {tmp_path}/r.json --licence Apache-2.0".split()
        )
    assert not stopped.value.code
    card = (tmp_path / "my-run/README.md").read_text()
    assert "| folder | val | plain | mean_iou | 25.0 | 20.0 to 31.0 | 3 |" in card
    assert "license: apache-2.0" in card
    assert "library_name: lexiseg" in card
    assert "seen classes" in card
    assert "At the end of training" in card
    assert list_parts(str(tmp_path / "my-run"))[0].licence == "apache-2.0"
    from huggingface_hub import ModelCard

    read = ModelCard(card).data
    assert read.eval_results[0].metric_value == 0.25
    text = card + (tmp_path / "my-run/config.json").read_text()
    assert str(models["run"].parent) not in text


def test_what_cannot_be_packed_is_refused(models, tmp_path):
    with pytest.raises(InputError, match="mini comes with pip"):
        pack("mini", tmp_path / "a")
    with pytest.raises(InputError, match="a folder with something in it"):
        pack(str(models["run"]), models["head"])
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(CheckpointError, match="reading the report"):
        pack(str(models["run"]), tmp_path / "b", reports=[tmp_path / "r.json"])
    assert not (tmp_path / "b").exists()
    weights = models["run"] / "model.safetensors"
    weights.rename(weights.with_suffix(".away"))
    try:
        with pytest.raises(InputError, match="not finished"):
            pack(str(models["run"]), tmp_path / "c")
    finally:
        weights.with_suffix(".away").rename(weights)


@pytest.mark.parametrize("text", ["{", "[]", '{"library_name": "lexiseg", "kind": "run"}'])
def test_a_damaged_configuration_is_told(models, tmp_path, text):
    out = tmp_path / "packed"
    pack(str(models["run"]), out)
    (out / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json|recipe\.json"):
        load(out)
