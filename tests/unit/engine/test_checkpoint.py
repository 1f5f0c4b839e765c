"""Checkpoints are whole or not there."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lexiseg.core.errors import CheckpointError, OutputError
from lexiseg.engine import checkpoint
from lexiseg.engine.checkpoint import checkpoint_path, checkpoint_steps, read_checkpoint, write_checkpoint

TENSORS = {"model": {"a": torch.arange(3.0)}, "optimizer": {"a|step": torch.tensor(2.0)}}


def write(run, *steps, keep=2):
    for step in steps:
        write_checkpoint(run, step, TENSORS, {"scaler": {}}, keep)


def test_what_is_written_is_read_and_only_the_newest_stay(tmp_path):
    write(tmp_path, 9, 10, 123, 2_000_000)
    assert checkpoint_steps(tmp_path) == [123, 2_000_000]
    tensors, state = read_checkpoint(tmp_path, 123)
    assert torch.equal(tensors["model"]["a"], TENSORS["model"]["a"])
    assert tensors["optimizer"].keys() == {"a|step"}
    assert (state["step"], state["scaler"]) == (123, {})
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == [
        "step-000123",
        "step-2000000",
    ]


def test_a_checkpoint_that_was_not_finished_is_not_seen_and_is_cleared_by_the_next(tmp_path, monkeypatch):
    write(tmp_path, 1)
    monkeypatch.setattr(checkpoint.os, "rename", _fail)
    with pytest.raises(OutputError, match=r"step-000002: found no room.*keep fewer.*--resume") as caught:
        write(tmp_path, 2)
    assert "Earlier checkpoints are whole" in caught.value.fix
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
    (tmp_path / "checkpoints/.step-000002.deleted").mkdir()  # as a kill leaves it
    assert checkpoint_steps(tmp_path) == [1]
    write(tmp_path, 3)
    assert checkpoint_steps(tmp_path) == [1, 3]
    assert not (tmp_path / "checkpoints/.step-000002.deleted").exists()


def _fail(*_):
    raise OSError(28, "no room")


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign", "no state", "other format"])
def test_a_damaged_checkpoint_is_named_and_what_to_do(tmp_path, damage):
    write(tmp_path, 5, 6)
    path = checkpoint_path(tmp_path, 6)
    if damage == "missing":
        (path / "optimizer.safetensors").unlink()
    elif damage == "cut":
        content = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(content[: len(content) // 2])
    elif damage == "foreign":
        (path / "state.json").write_text("[1, 2]")
    elif damage == "no state":
        (path / "state.json").unlink()
    else:
        state = json.loads((path / "state.json").read_text())
        (path / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(CheckpointError, match=r"step-000006.*Delete the folder step-000006"):
        read_checkpoint(tmp_path, 6)


def test_no_folder_is_no_checkpoint(tmp_path):
    assert checkpoint_steps(tmp_path / "absent") == []


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    from lexiseg.engine.weights import load_tensors

    module = torch.nn.Linear(2, 3)
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3, 2)}, file)
    for tensors, found in [
        ({"weight": torch.zeros(3, 2)}, r"no bias; expected every weight"),
        (
            {"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "x": torch.zeros(1)},
            "x, which the model does not",
        ),
        (
            {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)},
            r"weight of shape \(2, 2\); expected shape \(3, 2\)",
        ),
    ]:
        with pytest.raises(CheckpointError, match=found):
            load_tensors(module, tensors, file)


def test_tied_weights_are_written_once_and_stay_tied():
    from lexiseg.engine.weights import load_tensors, model_tensors

    module = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)])
    module[1].weight = module[0].weight
    assert list(model_tensors(module)) == ["0.weight"]
    load_tensors(module, {"0.weight": torch.ones(2, 2)}, Path("here"))
    assert module[1].weight.sum() == 4
