"""A signal stops a training, and whatever would have been made of its weights."""

import os
import signal

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli import AFTER_A_STOP, COMMANDS, main
from lexiseg.engine.training_state import TrainingState
from tiny_checkpoints import save_tiny_clip

FEW = ["--run.num-steps", "3", "--run.batch-size", "4", "--quiet"]
#: Arguments, what is made of a whole training, and the exit code of one that was stopped.
TRAININGS = {
    "train": (["simseg/tiny", *FEW], "model.safetensors", 0),
    "retrain": (["simformer/tiny", *FEW, "--data.num-scenes", "8", "--pseudo-masks.min-pixels", "0"], "pseudo_masks", 0),
    "distil": (
        ["--teacher", "CLIP", "--data", "PHOTOGRAPHS", "--student", "tiny", "--num-steps", "3", "--batch-size", "2",
         "--size", "64", "--device", "cpu", "--quiet"],
        "comparison.json",
        0,
    ),
    "ablate": (["toy_ablation:toy", "--seeds", "0", "--num-steps", "3"], "cells", 130),
}  # fmt: skip


def test_every_command_that_trains_is_here():
    resumed = {name for name, said in AFTER_A_STOP.items() if "--resume" in said}
    assert resumed | {"ablate"} == set(TRAININGS)
    assert set(TRAININGS) <= set(COMMANDS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", TRAININGS)
def test_nothing_is_made_of_half_a_training(command, tmp_path, monkeypatch, capsys):
    given, made, code = TRAININGS[command]
    if command == "distil":
        save_tiny_clip(tmp_path / "CLIP")
        (tmp_path / "PHOTOGRAPHS").mkdir()
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 56, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"PHOTOGRAPHS/{number}.png")
        given = [str(tmp_path / each) if each.isupper() else each for each in given]
    arguments = [command, *given, "--out", str(tmp_path / "out")]
    update = TrainingState.update

    def stopped(state, batch):
        if state.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(state, batch)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingState, "update", stopped)
        assert exit_code(arguments) == code
    told = capsys.readouterr().err
    assert "stopped by a signal after step 2, whose checkpoint is written" in told
    assert AFTER_A_STOP[command] in told
    assert not (tmp_path / "out" / made).exists()
    assert exit_code([*arguments, *(["--resume"] if code == 0 else [])]) == 0
    assert (tmp_path / "out" / made).exists()


def exit_code(arguments):
    try:
        main(arguments)
    except SystemExit as ended:
        return ended.code
    return 0
