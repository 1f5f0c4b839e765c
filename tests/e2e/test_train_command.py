"""``lexiseg train`` from the outside: started, killed, resumed, and its model used."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lexiseg.cli.train import Train

ROOT = Path(__file__).parents[2]
NAME = "toy_trainable:contrast_recipe"
#: Long enough to be killed in the middle, short enough for a test.
LONG = (
    "--run.num-steps",
    "150",
    "--run.save-every",
    "10",
    "--run.log-every",
    "1",
    "--run.evaluate-every",
    "25",
)


def train(*arguments: object) -> int:
    return Train.from_arguments([str(argument) for argument in arguments]).run()


def start(*arguments: object) -> subprocess.Popen:
    code = "import sys; from lexiseg.cli.train import Train; Train.from_arguments(sys.argv[1:]).run()"
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests" / "fixtures")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_at(process: subprocess.Popen, log: Path, line: int) -> None:
    """Send SIGKILL once the log has so many lines."""
    try:
        end = time.monotonic() + 120
        while not log.exists() or log.read_bytes().count(b"\n") < line:
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < end, "training does not get on"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.mark.exhaustive
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_at_a_random_step_and_resumed_the_weights_and_the_log_are_bit_identical(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended = start(NAME, "--out", whole, *LONG, "--quiet")
    assert ended.wait(120) == 0, ended.communicate()
    line = random.randrange(1, 120)
    kill_at(start(NAME, "--out", killed, *LONG, "--quiet"), killed / "log.jsonl", line)
    assert not (killed / "model.safetensors").exists()
    resumed = start(NAME, "--out", killed, *LONG, "--quiet", "--resume")
    assert resumed.wait(120) == 0, resumed.communicate()
    for name in ("model.safetensors", "log.jsonl", "checkpoints/step-000150/optimizer.safetensors"):
        assert digest(killed / name) == digest(whole / name), f"{name} after a kill at line {line}"


def test_alone_it_lists_the_recipes(capsys):
    assert train() == 0
    printed = capsys.readouterr().out
    assert "usage: lexiseg train RECIPE --out RUN" in printed
    assert "package.module:function" in printed
    assert train("--help") == 0


def test_the_help_of_a_recipe_names_its_settings(capsys):
    with pytest.raises(SystemExit) as stopped:
        train(NAME, "--help")
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    for flag in (
        "--out RUN",
        "--resume",
        "--optim.lr FLOAT",
        "--run.num-steps INT",
        "--method.dropout FLOAT",
    ):
        assert flag in printed


def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        train(NAME, "--out", tmp_path / "run", "--optim.lrr", "1")
    assert stopped.value.code == 2
    assert "--optim.lr" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_settings_on_the_command_line_arrive_and_the_run_loads(tmp_path):
    import json

    import lexiseg

    out = tmp_path / "run"
    assert train(NAME, "--out", out, "--run.num-steps", "2", "--optim.clip-norm", "None", "--quiet") == 0
    settings = json.loads((out / "recipe.json").read_text())["settings"]
    assert (settings["run"]["num_steps"], settings["optim"]["clip_norm"]) == (2, None)
    assert lexiseg.load(out, device="cpu", trust=True).name == str(out)


@pytest.mark.parametrize(
    ("checkpoints", "place"), [([], "the start: there is no checkpoint yet"), ([3, 6], "step 6, the last")]
)
def test_after_ctrl_c_it_says_how_to_go_on_and_from_where(tmp_path, capsys, monkeypatch, checkpoints, place):
    def stopped(*_: object, **__: object) -> None:
        for step in checkpoints:
            (tmp_path / f"run/checkpoints/step-{step:06d}").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("lexiseg.runs.train.train_recipe", stopped)
    assert train(NAME, "--out", tmp_path / "run") == 130
    assert f"Stopped. The same command with --resume goes on from {place}" in capsys.readouterr().err
