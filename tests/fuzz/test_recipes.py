"""Settings of a run that were damaged, or that a person made up: a model, or an error of ours; never much memory."""

import itertools
from random import Random
from typing import Any

import pytest

from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe
from lexiseg.runs.folder import _guarded
from lexiseg.runs.settings_json import settings_from_json, settings_to_json
from lexiseg.runs.train import train_recipe
from mutations import fuzz, mutated_json
from recipe_flags import absurd_values, flags, with_flag

pytestmark = pytest.mark.usefixtures("without_type_checker")

TINY = sorted(name for name in TRAINING_RECIPES if name.endswith("/tiny"))


@pytest.mark.parametrize("name", TINY)
def test_settings_of_recipes(name, tmp_path):
    recipe = find_recipe(name)

    def read(content: Any) -> None:
        made = settings_from_json(type(recipe), content, source="recipe.json")
        _guarded(made.build_model, tmp_path)

    assert fuzz("recipe", [settings_to_json(recipe)], read, examples=8, mutate=mutated_json) > 1


#: What makes one training a matter of a fraction of a second.
SMALL = {
    "run.num_steps": 1, "run.batch_size": 4, "data.num_scenes": 8, "data.num_scored_scenes": 2, "num_scenes": 4,
    "num_training_scenes": 8, "evaluation.num_scenes": 2, "curation.teacher.num_scenes": 217,
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_absurd_flags_of_trainings(name, tmp_path):
    """A flag is refused without much memory, or the training with it begins and ends."""
    recipe = find_recipe(name)
    for flag in {flag for flag, *_ in flags(recipe)} & SMALL.keys():
        recipe = with_flag(recipe, flag, SMALL[flag])
    known = [(flag, absurd_values(hint)) for flag, hint, _ in flags(recipe)]
    number = itertools.count()

    def chosen(_: Any, random: Random) -> Any:
        flag, values = random.choice([each for each in known if each[1]])
        return {"flag": flag, "value": random.choice(values)}

    def read(content: Any) -> None:
        out = tmp_path / str(next(number))
        changed = with_flag(recipe, content["flag"], content["value"])
        train_recipe(name, recipe=changed, out=out, quiet=True, most_hours=1.0)

    fuzz(f"flags-{name.partition('/')[0]}", [name], read, examples=3, mutate=chosen, seconds=20)
