"""A run's folder does not choose what code runs, and neither does the folder a run is started in."""

import dataclasses
import json
import subprocess
from importlib import import_module
from types import SimpleNamespace

import pytest

import lexiseg
from lexiseg.cli import COMMANDS
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.runs import curate
from lexiseg.runs.folder import load_run, read_recipe
from lexiseg.runs.gamma import open_run
from lexiseg.runs.git_commit import commit_of
from lexiseg.runs.load import build_trained
from lexiseg.runs.pair_encoder import LoadedPairEncoder

EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n\ndef go():\n    raise ValueError\n"


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"format": 1, "name": "evil:go", "settings": {}}))
    return folder


READERS = {
    "load": lexiseg.load,
    "load_run": load_run,
    "read_recipe": read_recipe,
    "build_trained": lambda folder: build_trained(str(folder)),
    "gamma": open_run,
    "curate": lambda folder: LoadedPairEncoder(str(folder)),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_of_runs_imports_what_a_folder_names(hostile, reader):
    with pytest.raises(CheckpointError, match="imports that module and runs its code"):
        READERS[reader](hostile)
    assert not (hostile.parent / "ran").exists()


def test_whoever_trusts_it_gets_it(hostile):
    with pytest.raises(lexiseg.LexisegError, match="ValueError"):
        lexiseg.load(hostile, trust=True)
    assert (hostile.parent / "ran").exists()


def test_every_command_that_takes_a_model_can_be_told_to_trust():
    takes = []
    for where, _ in COMMANDS.values():
        module, _, name = where.partition(":")
        command = getattr(import_module(f"lexiseg.cli.{module}"), name)
        fields = (
            {field.name for field in dataclasses.fields(command)}
            if dataclasses.is_dataclass(command)
            else set()
        )
        if "set_" in fields or name in ("Gamma", "Models"):
            takes.append(name)
            assert "trust" in fields, name
    assert {"Segment", "Evaluate", "Predict"} <= set(takes)


def git(folder, *arguments):
    name = ("-c", "user.name=x", "-c", "user.email=x@x")
    return subprocess.run(
        ["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True, text=True
    )


def test_the_commit_is_read_and_nothing_of_the_checkout_is_run(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x")
    head = git(tmp_path, "rev-parse", "HEAD").stdout.strip()
    with (tmp_path / ".git/config").open("a") as file:
        file.write(f"[core]\n\tfsmonitor = touch {tmp_path}/ran\n")

    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", started)
    assert commit_of(tmp_path) == head
    monkeypatch.undo()
    (tmp_path / ".git/config").unlink()
    git(tmp_path, "init", "-q")
    git(tmp_path, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    git(tmp_path, "pack-refs", "--all")
    assert commit_of(tmp_path / "tree") == commit_of(tmp_path) == head
    git(tmp_path, "checkout", "-q", "--detach")
    assert commit_of(tmp_path) == head


@pytest.mark.parametrize(
    "head", ["", "ref: ../../x", "ref: refs/../../x", "ref: refs/heads/absent", "\0", "x" * 40]
)
def test_an_odd_checkout_has_no_commit(tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text(head)
    (tmp_path / "x").write_text("a" * 40)
    assert commit_of(tmp_path) is None
    assert commit_of(tmp_path / "absent") is None


def test_an_index_of_curation_names_no_module(hostile, monkeypatch):
    index = SimpleNamespace(index=SimpleNamespace(facts={"encoder": "evil:go"}))
    for name in ("load_concepts", "begin_ranking", "RankShards", "_do"):
        monkeypatch.setattr(curate, name, lambda *_, **__: None)
    monkeypatch.setattr(curate, "FindConcepts", lambda *_: index)
    with pytest.raises(InputError, match="imports the module and runs its code"):
        curate.rank(hostile)
    assert not (hostile.parent / "ran").exists()
