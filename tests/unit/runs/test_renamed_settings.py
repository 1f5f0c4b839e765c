"""Runs and command lines with settings that were called otherwise once."""

import dataclasses
import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import InputError
from lexiseg.data.scenes.settings import PasteSettings, SceneSettings, WorldSettings
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.methods.simseg.settings import MaskSettings, PoolingSettings
from lexiseg.recipes.base import find_recipe
from lexiseg.recipes.simseg import CaptionSimSegRecipe
from lexiseg.recipes.simseg_evaluation import SceneEvaluation
from lexiseg.runs.folder import load_run, read_recipe
from lexiseg.runs.renamed_settings import (
    ADDED,
    RENAMED,
    refuse_old_flags,
    with_new_names,
    with_new_names_like,
)
from lexiseg.runs.settings_json import settings_from_json, settings_to_json
from lexiseg.runs.train import train_recipe

KINDS = {
    kind.__name__: kind
    for kind in (
        PoolingSettings, MaskSettings, WorldSettings, SceneSettings, CaptionSimSegRecipe, SimFormerSettings,
    )
}  # fmt: skip


def with_old_names(value):
    """Write settings as an earlier version did."""
    names = {new: old for renamed in RENAMED.values() for old, new in renamed.items()}
    if isinstance(value, dict):
        return {names.get(name, name): with_old_names(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize("name", RENAMED)
def test_every_new_name_is_a_setting_and_no_old_name_is(name):
    there = {field.name for field in fields(KINDS[name])}
    assert set(RENAMED[name].values()) <= there
    assert not set(RENAMED[name]) & there


def test_subclasses_have_the_names_of_what_they_extend():
    assert with_new_names(PasteSettings, {"naming": 0.5, "folder": "x"}) == {
        "mention_rate": 0.5,
        "folder": "x",
    }
    assert with_new_names(PoolingSettings, {"naming": 0.5}) == {"naming": 0.5}


@pytest.mark.parametrize("recipe", ["simseg/tiny", "simseg/paper", "simseg/emoji", "simformer/tiny"])
def test_settings_with_old_names_are_the_same_settings(recipe):
    recipe = find_recipe(recipe)
    plain = json.loads(json.dumps(settings_to_json(recipe)))
    assert with_old_names(plain) != plain
    assert with_new_names_like(recipe, with_old_names(plain)) == plain


def test_a_run_of_an_earlier_version_loads_with_its_settings_and_weights(tmp_path):
    recipe = find_recipe("simseg/tiny")
    recipe = replace(
        recipe, run=replace(recipe.run, num_steps=1, batch_size=4), evaluation=SceneEvaluation(num_scenes=2)
    )
    trained = train_recipe("simseg/tiny", recipe=recipe, out=tmp_path, quiet=True)
    written = json.loads((tmp_path / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(with_old_names(written)))
    weights = tmp_path / "model.safetensors"
    old = {name.replace("token_embedding", "pieces"): value for name, value in load_file(weights).items()}
    assert "texts.network.pieces.weight" in old
    save_file(old, weights)
    assert read_recipe(tmp_path)[1] == recipe
    for name, value in load_run(tmp_path).state_dict().items():
        assert torch.equal(trained.state_dict()[name], value)


@pytest.mark.parametrize(
    ("argument", "fix"),
    [
        ("--data.naming", "Write --data.mention-rate."),
        ("--method.testing.text-responses=2", "Write --method.testing.text-topk."),
        ("--max-broken", "Write --max-invalid."),
        ("--method.literal", "Write --method.student-within-image."),
    ],
)
def test_an_old_flag_is_refused_with_its_new_spelling(argument, fix):
    with pytest.raises(InputError, match="the old name of a setting") as caught:
        refuse_old_flags(["--out", "run", argument])
    assert caught.value.fix == fix
    refuse_old_flags(["--out", "naming", "--data.mention-rate", "0.5"])


def parts_of(settings, written):
    """Pair every dataclass of settings, at any depth, with what was written of it."""
    if dataclasses.is_dataclass(settings):
        yield settings, written
        for field in dataclasses.fields(settings):
            yield from parts_of(getattr(settings, field.name), written[field.name])


def without_added(recipe, written):
    """Take out of what was written of a recipe the settings that came later; return them too, with what they meant before."""
    added = []
    for part, values in list(parts_of(recipe, written)):
        for kind in type(part).__mro__:
            for field, value in ADDED.get(kind.__name__, {}).items():
                added.append((field, values.pop(field), value))
    return written, added


@pytest.mark.parametrize("name", ["simformer/ade20k", "simformer/coco-stuff-10k", "simseg/paper"])
def test_settings_that_came_later_mean_in_earlier_runs_what_was_done_then(name):
    recipe = find_recipe(name)
    earlier, added = without_added(recipe, settings_to_json(recipe))
    assert added
    read = settings_from_json(type(recipe), earlier, source="earlier")
    same, found = without_added(recipe, settings_to_json(read))
    assert same == earlier
    for field, value, before in found:
        assert value == before, field
    assert with_new_names_like(read, earlier) == settings_to_json(read)
