"""Run folders: what they hold, what may go on in them, and the model in them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import lexiseg
from lexiseg.core.errors import CheckpointError, InputError, UnknownNameError
from lexiseg.engine.checkpoint import checkpoint_steps, write_tensors
from lexiseg.engine.loop import load_final
from lexiseg.engine.watch import DivergedError
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe
from lexiseg.runs.folder import _is_harmless, load_run, read_recipe
from lexiseg.runs.train import train_recipe

NAME = "toy_trainable:contrast_recipe"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    model = train_recipe(NAME, out=out, quiet=True)
    return out, model


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "run")


def test_a_run_says_what_it_was(run):
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["name"] == NAME
    assert recipe["settings"]["optim"]["ema_decay"] == 0.9
    assert recipe["settings"]["run"]["seed"] == 0
    assert json.loads((run / "data.json").read_text())["fingerprint"] == "toy-8"
    (start,) = json.loads((run / "environment.json").read_text())["starts"]
    assert start["versions"]["torch"] == torch.__version__
    assert start.keys() >= {"command", "commits", "system", "time", "python"}


def test_a_run_loads_to_segment_with_the_weights_it_ended_with(made):
    out, trained = made
    model = lexiseg.load(out, device="cpu", trust=True)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for name, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    result = model.segment(np.zeros((20, 30, 3), np.uint8), "red, black")
    assert result.label_map.shape == (20, 30)
    assert result.settings["model"] == str(out)
    assert result.settings["method"]["recipe"] == NAME
    assert len(result.settings["method"]["weights"]) == 64


def test_a_run_that_is_not_finished_loads_from_its_last_checkpoint(run, made):
    (run / "model.safetensors").unlink()
    model = lexiseg.load(run, device="cpu", trust=True)
    assert torch.equal(model.stem.weight, made[1].stem.weight), "running means, as at the end"


def test_a_run_with_neither_weights_nor_checkpoints_says_so(run):
    (run / "model.safetensors").unlink()
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match=r"neither model.safetensors nor a checkpoint.*--resume"):
        lexiseg.load(run, trust=True)


def test_a_run_without_its_recipe_says_so(run):
    (run / "recipe.json").unlink()
    with pytest.raises(CheckpointError, match=r"reading .*recipe.json: found No such file"):
        lexiseg.load(run, trust=True)


def test_cut_weights_say_so(run):
    content = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(content[:200])
    with pytest.raises(CheckpointError, match=r"model.safetensors.*Delete the file and go on"):
        lexiseg.load(run, trust=True)


def test_a_run_of_something_that_does_not_segment_loads_as_it_is(tmp_path):
    recipe = find_recipe("toy_trainable:counts_recipe")
    recipe = replace(recipe, run=replace(recipe.run, num_steps=1))
    train_recipe("toy_trainable:counts_recipe", recipe=recipe, out=tmp_path, quiet=True)
    assert not load_run(tmp_path, trust=True).training
    with pytest.raises(InputError, match="a ToyCounts, which does not segment"):
        lexiseg.load(tmp_path, trust=True)


def test_a_folder_with_a_run_is_refused_and_the_way_on_is_named(run):
    with pytest.raises(InputError, match=r"starting a run in .*found a run.*Add --resume"):
        train_recipe(NAME, out=run, quiet=True)


def test_a_start_that_failed_leaves_nothing_that_stops_the_next(tmp_path, monkeypatch):
    recipe = find_recipe(NAME)
    with monkeypatch.context() as broken:
        broken.setattr(type(recipe), "build_model", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_recipe(NAME, out=tmp_path / "run", quiet=True)
    assert [path.name for path in (tmp_path / "run").glob("[!.]*")] == [], "no model, no run"
    broken_late = replace(recipe, method=replace(recipe.method, nan_from_step=2))
    with pytest.raises(DivergedError):
        train_recipe(NAME, recipe=broken_late, out=tmp_path / "run", quiet=True)
    train_recipe(NAME, out=tmp_path / "run", quiet=True)
    assert (tmp_path / "run/model.safetensors").is_file()


def test_resuming_where_there_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"found no run there.*Leave --resume out"):
        train_recipe(NAME, out=tmp_path / "absent", resume=True, quiet=True)
    assert not (tmp_path / "absent").exists()


def test_resuming_with_other_settings_names_them(run):
    recipe = find_recipe(NAME)
    changed = replace(recipe, optim=replace(recipe.optim, lr=0.5), run=replace(recipe.run, num_steps=8))
    with pytest.raises(InputError, match=r"optim.lr was 0.01, now 0.5, run.num_steps was 12, now 8"):
        train_recipe(NAME, recipe=changed, out=run, resume=True, quiet=True)


def test_a_run_goes_on_for_longer_in_other_parts_on_another_device(run):
    recipe = find_recipe(NAME)
    changes = {"num_steps": 14, "sub_batch_size": 2, "device": "cpu", "log_every": 1, "evaluate_every": 2}
    changed = replace(recipe, run=replace(recipe.run, **changes))
    train_recipe(NAME, recipe=changed, out=run, resume=True, quiet=True)
    assert checkpoint_steps(run)[-1] == 14
    assert read_recipe(run, trust=True)[1] == changed


def test_data_that_moved_is_known_by_its_fingerprint():
    assert _is_harmless("captions", "/old/captions", "/new/captions")
    assert _is_harmless("data.path", "/old", "/new")
    assert not _is_harmless("tokenizer", "/old", "/new")
    assert not _is_harmless("num_steps", 1, 2)  # of a recipe of one's own, not of the run
    assert not _is_harmless("run.batch_size", 1, 2)


@pytest.mark.parametrize("fails", ["build_model", "loss"])
def test_a_start_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, fails):
    recipe = find_recipe(NAME)

    def fail(*_):
        raise ZeroDivisionError

    owner = type(recipe) if fails == "build_model" else type(recipe.build_model())
    monkeypatch.setattr(owner, "embed" if fails == "loss" else fails, fail)
    for out in (tmp_path / "new", tmp_path / "empty"):
        if out.name == "empty":
            out.mkdir()
        with pytest.raises(ZeroDivisionError):
            train_recipe(NAME, out=out, quiet=True)
        assert not out.exists() or not list(out.iterdir())
    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError):
        train_recipe(NAME, out=tmp_path / "own", quiet=True)
    assert [file.name for file in (tmp_path / "own").iterdir()] == ["notes.txt"]


def test_resuming_with_other_data_is_refused(run):
    data = run / "data.json"
    data.write_text(data.read_text().replace("toy-8", "toy-9"))
    with pytest.raises(InputError, match="other data: its fingerprint was toy-9…, now toy-8…"):
        train_recipe(NAME, out=run, resume=True, quiet=True)


def test_what_no_result_depends_on_may_change_and_each_start_is_written_down(run):
    recipe = find_recipe(NAME)
    changed = replace(recipe, run=replace(recipe.run, keep_checkpoints=1, save_every=2))
    train_recipe(NAME, recipe=changed, out=run, resume=True, quiet=True)
    starts = json.loads((run / "environment.json").read_text())["starts"]
    assert [start["from_step"] for start in starts] == [0, 12]


def test_unknown_recipes_are_refused_with_the_names_that_are_known(monkeypatch):
    monkeypatch.setitem(TRAINING_RECIPES, "toy/tiny", ("toy:tiny", "Train."))
    with pytest.raises(UnknownNameError, match=r"training recipe 'toy/tyni'.*toy/tiny"):
        find_recipe("toy/tyni")
    with pytest.raises(InputError, match=r"No module named 'absent'.*PYTHONPATH=\."):
        find_recipe("absent:recipe")
    with pytest.raises(InputError, match="has no attribute 'absent'"):
        find_recipe("toy_trainable:absent")
    with pytest.raises(InputError, match="a function that gives a StepwiseData"):
        find_recipe("toy_trainable:eight_rows")


@pytest.mark.parametrize("name", TRAINING_RECIPES)
def test_the_list_of_recipes_says_what_each_says_of_itself_and_each_can_be_written_down(name):
    import inspect
    from importlib import import_module

    from lexiseg.runs.settings_json import settings_from_json, settings_to_json

    where, summary = TRAINING_RECIPES[name]
    module, _, function = where.partition(":")
    found = getattr(import_module(f"lexiseg.recipes.{module}"), function)
    assert inspect.getdoc(found).splitlines()[0] == summary
    recipe = find_recipe(name)
    plain = json.loads(json.dumps(settings_to_json(recipe)))
    assert settings_from_json(type(recipe), plain, source=name) == recipe


@pytest.mark.parametrize("gone", [["data.json"], ["data.json", "recipe.json"], ["environment.json"]])
def test_a_run_killed_while_it_began_is_begun_again(run, gone):
    """In any order of these files: of this version, and of earlier ones, which wrote the recipe first."""
    for name in [*gone, "log.jsonl", "timing.jsonl", "model.safetensors"]:
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    train_recipe(NAME, out=run, quiet=True, resume=(run / "recipe.json").exists())
    assert (run / "model.safetensors").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"starts": 3}'])
def test_a_damaged_note_of_earlier_starts_stops_no_run(run, damage):
    (run / "environment.json").write_text(damage)
    with pytest.warns(UserWarning, match="earlier starts is lost"):
        train_recipe(NAME, out=run, quiet=True, resume=True)
    assert len(json.loads((run / "environment.json").read_text())["starts"]) == 1


def test_weights_that_are_not_finite_or_not_those_that_were_written_are_refused(run):
    path = run / "model.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="not those that were written"):
        load_run(run, trust=True)
    tensors = load_final(bytes_restored(path, whole))
    first = next(iter(tensors))
    tensors[first].flatten()[0] = float("nan")
    write_tensors(path, tensors)
    with pytest.raises(CheckpointError, match=f"numbers in {first} that are not finite"):
        load_run(run, trust=True)


def bytes_restored(path, content):
    content[-2] ^= 1
    path.write_bytes(content)
    return path.parent
