"""Every command that reads networks can be told which licences are allowed, and refuses others before it reads anything."""

import json
import typing
from dataclasses import fields
from importlib import import_module

import pytest

from lexiseg.cli import COMMANDS, main
from lexiseg.cli.options import Licence
from lexiseg.cli.train import _options_of
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe
from lexiseg.runs.licences import list_networks
from lexiseg.runs.settings_json import settings_to_json
from sky_and_grass import write_folder

#: Options that name a model, or a network that one is made of.
NAMING = {"model", "models", "teacher", "encoder", "backbone", "run_folder"}
LEFT_OUT = {
    "pack": "--licence is that of what is packed; nothing is computed",
    "models": "prints the settings of a method; lexiseg licences says the rest",
}
#: For research only, and every command's way to be asked for it.
NOT_PERMISSIVE = "nvidia/mit-b2"
REFUSED = {
    "start": f"DATA --backbone {NOT_PERMISSIVE}",
    "fit": f"DATA --out OUT --backbone {NOT_PERMISSIVE}",
    "exchange": f"DATA --backbone {NOT_PERMISSIVE}",
    "next": f"DATA --backbone {NOT_PERMISSIVE}",
    "train": "clip-to-seg/voc --data.path DATA --out OUT",
    "retrain": f"simformer/tiny --backbone {NOT_PERMISSIVE} --out OUT",
    "distil": f"--teacher mini --student {NOT_PERMISSIVE} --data DATA --out OUT",
    "gamma": "RUN",
    "references build": f"--source folder --from DATA --words cat --encoder {NOT_PERMISSIVE} --out OUT",
    "curate all": f"DATA --encoder {NOT_PERMISSIVE} --out OUT",
    "curate embed": f"DATA --encoder {NOT_PERMISSIVE} --out OUT",
}


def leaves():
    for command, (where, _) in COMMANDS.items():
        module, _, attribute = where.partition(":")
        options = getattr(import_module(f"lexiseg.cli.{module}"), attribute)
        hints = typing.get_type_hints(options, include_extras=True)
        if "action" not in hints:
            yield command, options
        else:
            yield from (
                (f"{command} {typing.get_args(each)[1].name}", typing.get_args(each)[0])
                for each in typing.get_args(hints["action"])
            )


def test_every_command_that_takes_a_model_takes_a_licence():
    for name, options in leaves():
        if name in ("train", "retrain"):
            options = _options_of(find_recipe("simformer/tiny"))
        elif name in LEFT_OUT or not NAMING & {field.name for field in fields(options)}:
            continue
        hints = typing.get_type_hints(options, include_extras=True)
        assert hints.get("licence") == Licence, name


@pytest.mark.parametrize("command", REFUSED)
def test_networks_are_refused_before_anything_is_read(tmp_path, capsys, command):
    data, run, out = write_folder(tmp_path / "data", num_masks=4), tmp_path / "run", tmp_path / "out"
    run.mkdir()
    recipe = {"name": "clip-to-seg/voc", "settings": settings_to_json(find_recipe("clip-to-seg/voc"))}
    (run / "recipe.json").write_text(json.dumps({"format": 1, **recipe}))
    places = {"DATA": str(data), "RUN": str(run), "OUT": str(out)}
    given = [places.get(word, word) for word in f"{command} {REFUSED[command]}".split()]
    with pytest.raises(SystemExit) as stopped:
        main([*given, "--licence", "permissive"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"{NOT_PERMISSIVE}: NVIDIA Source Code License" in said
    assert "Choose another model" in said
    assert not out.exists()


@pytest.mark.parametrize(
    "name", [name for name in TRAINING_RECIPES if name.endswith(("/tiny", "/scenes", "/finetune"))]
)
def test_recipes_that_run_on_any_machine_read_permissive_networks_alone(name):
    assert {part.terms for part in list_networks(find_recipe(name))} <= {"permissive"}
