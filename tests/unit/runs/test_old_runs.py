"""Settings that runs of earlier versions wrote are read, with the meaning they had."""

import json
from pathlib import Path

import pytest

from lexiseg.recipes.base import find_recipe
from lexiseg.runs.settings_json import decode_value, settings_to_json

OLD = sorted((Path(__file__).parents[2] / "fixtures/old_runs").glob("*.json"))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_run_of_an_earlier_version_is_read(path):
    """A setting that is added must say in ``renamed_settings.ADDED`` which value does what was done before."""
    written = json.loads(path.read_text())
    recipe = find_recipe(written["name"])
    settings = decode_value(type(recipe), written["settings"], "settings", path.name)
    assert settings.optim.lr == written["settings"]["optim"]["lr"]
    assert type(recipe) is type(settings)
    again = json.loads(json.dumps(settings_to_json(settings)))
    assert decode_value(type(recipe), again, "settings", path.name) == settings


def test_there_are_runs_of_earlier_versions():
    assert len(OLD) >= 2
