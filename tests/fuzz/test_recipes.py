"""Settings of a run that were damaged, or that a person made up: a model, or an error of ours; never much memory."""

from typing import Any

import pytest

from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe
from lexiseg.runs.folder import _guarded
from lexiseg.runs.settings_json import settings_from_json, settings_to_json
from mutations import fuzz, mutated_json

pytestmark = pytest.mark.usefixtures("without_type_checker")

TINY = sorted(name for name in TRAINING_RECIPES if name.endswith("/tiny"))


@pytest.mark.parametrize("name", TINY)
def test_settings_of_recipes(name, tmp_path):
    recipe = find_recipe(name)

    def read(content: Any) -> None:
        made = settings_from_json(type(recipe), content, source="recipe.json")
        _guarded(made.build_model, tmp_path)

    assert fuzz("recipe", [settings_to_json(recipe)], read, examples=8, mutate=mutated_json) > 1
