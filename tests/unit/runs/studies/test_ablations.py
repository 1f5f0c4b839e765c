import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lexiseg.cli.ablate import Ablate
from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.recipes.base import find_recipe
from lexiseg.runs.studies import ABLATIONS, find_ablation
from lexiseg.runs.studies import run as running
from lexiseg.runs.studies.run import Measured, run_ablation
from lexiseg.runs.studies.study import Ablation, Cell, Claim, Learns, with_changes
from lexiseg.runs.studies.table import learnt, markdown, to_json, verdict
from toy_ablation import retrained, toy

SHORT = {"run.num_steps": 12}


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_every_cell_of_every_ablation_is_a_change_its_recipe_takes(name):
    ablation = find_ablation(name)
    assert ablation.name == name
    recipe = find_recipe(ablation.recipe)
    for cell in ablation.cells:
        with_changes(with_changes(recipe, cell.trained_with), cell.measured_with)


@pytest.mark.parametrize("name", sorted(name for name in ABLATIONS if name.startswith("simseg/")))
def test_a_claim_of_simseg_has_a_least_effect_and_says_whether_it_holds_for_contrasted_maps(name):
    ablation = find_ablation(name)
    assert all(claim.by_at_least > 0 or claim.by_at_most for claim in ablation.claims)
    if name in ("simseg/table11", "simseg/table12"):
        assert any(claim.better[1].endswith("contrasted") for claim in ablation.claims)
    if name == "simseg/loda":
        assert {"mean, negated", "LoDA, saliency", "LoDA, contrasted"} <= {
            cell.row for cell in ablation.cells
        }
    if name != "simseg/common-class":
        assert {"which_is_which", "which_is_which_chance", "map_offset"} <= set(ablation.measures)


def test_a_dotted_name_changes_one_field_and_nothing_else():
    recipe = find_recipe("toy_trainable:contrast_recipe")
    changed = with_changes(recipe, {"optim.lr": 0.5})
    assert changed.optim.lr == 0.5
    assert with_changes(changed, {"optim.lr": recipe.optim.lr}) == recipe


def test_unknown_settings_and_settings_of_settings_that_have_none_are_refused():
    recipe = find_recipe("toy_trainable:contrast_recipe")
    with pytest.raises(UnknownNameError, match=r"optim\.rate"):
        with_changes(recipe, {"optim.rate": 1})
    with pytest.raises(InputError, match="float, which has no fields"):
        with_changes(recipe, {"optim.lr.lr": 1})


def test_unknown_ablations_are_refused_by_name():
    with pytest.raises(UnknownNameError, match="simseg/table11"):
        find_ablation("simseg/table1")
    with pytest.raises(InputError, match="no_such_module"):
        find_ablation("no_such_module:table")


def test_cells_with_equal_changes_share_a_training_and_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    trained = []
    train = running.train_recipe
    monkeypatch.setattr(running, "train_recipe", lambda *a, **k: trained.append(k["out"]) or train(*a, **k))
    first = run_ablation(toy(), tmp_path, seeds=(0, 1), changes=SHORT)
    assert len(trained) == 3  # fast with two seeds, not at all with one
    assert [(m.row, m.seed) for m in first] == [
        ("fast", 0),
        ("fast", 1),
        ("fast, again", 0),
        ("fast, again", 1),
        ("not at all", 0),
    ]
    assert run_ablation(toy(), tmp_path, seeds=(0, 1), changes=SHORT) == first
    assert len(trained) == 3

    slow = json.dumps(dict(first[4].values), indent=1) + "\n"
    next(file for file in (tmp_path / "cells").iterdir() if file.read_text() == slow).unlink()
    finished = run_ablation(toy(), tmp_path, seeds=(0, 1), changes=SHORT, only_finished=True)
    assert finished == first[:4]  # under their own names, and nothing trained
    assert len(trained) == 3
    record = to_json(toy(), finished)
    assert record["cells"][2]["seeds"] == {}
    assert record["cells"][2]["mean"] == {"held_out_loss": None}
    assert record["claims"][0]["holds"] == "not measured"


def test_a_stopped_training_is_gone_on_with(tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(running, "read_log", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_ablation(toy(), tmp_path, seeds=(0,), changes=SHORT)
    assert len(run_ablation(toy(), tmp_path, seeds=(0,), changes=SHORT)) == 3


def test_a_training_that_was_scored_is_not_loaded_to_be_scored_again(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "load_run", lambda *_, **__: pytest.fail("loaded"))
    found = run_ablation(
        replace(toy(), cells=toy().cells[:1], claims=()), tmp_path, seeds=(0,), changes=SHORT
    )
    logged = [json.loads(line) for line in next(tmp_path.glob("runs/*/log.jsonl")).read_text().splitlines()]
    assert found[0].values == logged[-1]["evaluation"]


@pytest.mark.exhaustive
def test_processes_find_the_same_numbers(tmp_path):
    here = run_ablation(toy(), tmp_path / "here", seeds=(0,), changes=SHORT)
    apart = run_ablation(toy(), tmp_path / "apart", seeds=(0,), changes=SHORT, jobs=2)
    assert apart == here


BRIEF = {"run.num_steps": 1, "run.batch_size": 2}


@pytest.mark.exhaustive
def test_a_retrained_cell_measures_the_second_model_also_after_its_copy_was_cut_off(tmp_path, monkeypatch):
    def cut_off(source, target, **_):
        shutil.copy(source / "recipe.json", target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(running.shutil, "copytree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_ablation(retrained(), tmp_path, seeds=(0,), changes=BRIEF)
    assert not list((tmp_path / "runs").glob("*-retrained/*"))
    once, twice = run_ablation(retrained(), tmp_path, seeds=(0,), changes=BRIEF)
    assert (once.row, twice.row) == ("once", "twice")
    assert len(list((tmp_path / "runs").glob("*-retrained/second/model.safetensors"))) == 1
    assert set(once.values) == set(twice.values)


def measured(**rows: tuple[float, ...]) -> list[Measured]:
    return [
        Measured(row=row, column="", seed=seed, values={"accuracy": value})
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]


def pair(**claim) -> Ablation:
    return Ablation(
        name="pair",
        title="",
        recipe="",
        cells=(Cell(row="a"), Cell(row="b")),
        measures=("accuracy",),
        claims=(Claim(says="a beats b", better=("a", ""), worse=("b", ""), **claim),),
    )


@pytest.mark.parametrize(
    ("a", "b", "claim", "holds"),
    [
        ((0.5, 0.6), (0.4, 0.5), {}, "every seed"),
        ((0.5, 0.6), (0.495, 0.5), {"by_at_least": 0.01}, "undecided"),
        ((0.54, 0.56, 0.56, 0.56), (0.5, 0.5, 0.5, 0.5), {"by_at_least": 0.05}, "on average"),
        ((0.5, 0.6), (0.499, 0.599), {"by_at_least": 0.01}, "no"),
        ((0.5, 0.4), (0.2, 0.5), {}, "undecided"),
        ((0.5, 0.2), (0.4, 0.5), {}, "no"),
        ((0.5, 0.5), (0.5, 0.5), {}, "no"),
        ((0.5,), (), {}, "not measured"),
        ((0.5,), (0.4,), {}, "yes, of one seed"),
        ((0.5,), (0.6,), {}, "no, of one seed"),
        ((0.5,), (0.4,), {"by_at_most": 0.2}, "yes, of one seed"),
        ((0.5, 0.6), (0.4, 0.7), {"by_at_most": 0.11}, "every seed"),
        ((0.5, 0.6), (0.4, 0.7), {"by_at_most": 0.05}, "on average"),
        ((0.5, 0.6), (0.2, 0.3), {"by_at_most": 0.05}, "no"),
    ],
)
def test_a_claim_is_judged_seed_by_seed(a, b, claim, holds):
    ablation = pair(**claim)
    assert verdict(ablation, ablation.claims[0], measured(a=a, b=b))["holds"] == holds


def test_the_table_shows_mean_spread_and_the_published_number():
    ablation = replace(pair(), published={("a", ""): 50.0})
    text = markdown(ablation, measured(a=(0.4, 0.6), b=(0.25,)), "accuracy")
    assert "| a | 0.500 ± 0.141 (50) |" in text
    assert "| b | 0.250 |" in text


def test_the_record_holds_every_seed():
    record = to_json(pair(), measured(a=(0.5, 0.7), b=(0.4, 0.5)))
    assert record["cells"][0]["seeds"] == {"0": {"accuracy": 0.5}, "1": {"accuracy": 0.7}}
    assert record["cells"][0]["mean"]["accuracy"] == pytest.approx(0.6)
    assert record["claims"][0]["differences"] == pytest.approx([0.1, 0.2])


def test_the_command_writes_its_table(tmp_path, capsys):
    assert Ablate(name="toy_ablation:toy", out=tmp_path, seeds=(0,), num_steps=12).run() == 0
    printed = capsys.readouterr().out
    assert "without learning more is lost: yes, of one seed" in printed
    assert "learning loses more: no, of one seed" in printed
    record = json.loads((tmp_path / "toy_ablation-toy.json").read_text())
    assert record["seeds"] == [0]
    assert record["changes"] == {"run.num_steps": 12}


def test_the_command_alone_lists_and_without_a_folder_says_what_to_add(capsys):
    assert Ablate().run() == 0
    assert "simseg/table11" in capsys.readouterr().out
    with pytest.raises(InputError, match="Add --out FOLDER"):
        Ablate(name="simseg/loda").run()
    with pytest.raises(InputError, match="--jobs 0"):
        Ablate(name="simseg/loda", out=Path("x"), jobs=0).run()


def test_an_ablation_of_photographs_wants_their_folder_and_others_want_none(tmp_path):
    with pytest.raises(InputError, match="Add --data FOLDER"):
        Ablate(name="simformer/clothing", out=tmp_path).run()
    with pytest.raises(InputError, match="makes its own data"):
        Ablate(name="simformer/pairs", out=tmp_path, data=tmp_path).run()


@pytest.mark.parametrize("name", [name for name in sorted(ABLATIONS) if name.startswith("simformer/")])
def test_every_claim_of_simformer_states_the_least_effect_that_counts(name):
    for claim in find_ablation(name).claims:
        assert claim.by_at_most or claim.by_at_least > 0, claim.says


@pytest.mark.parametrize("name", [name for name in sorted(ABLATIONS) if name.startswith("simformer/")])
def test_every_column_of_simformer_has_all_masks_and_a_classifier_without_proposals_beside_it(name):
    ablation = find_ablation(name)
    columns = {cell.column for cell in ablation.cells}
    assert {learns.of[1] for learns in ablation.learns} == columns
    by_place = {(cell.row, cell.column): cell.trained_with for cell in ablation.cells}
    for learns in ablation.learns:
        assert learns.share == 0.9
        all_masks, per_pixel = by_place[learns.reaches], by_place[learns.of]
        assert per_pixel == {**all_masks, "classifier": "pixels"}
        assert all_masks["data.all_masks"]


@pytest.mark.parametrize(
    ("all_masks", "holds"),
    [
        ((0.73,), "every seed"),
        ((0.71,), "not claimed: all reach 0.89 of pixels, less than 0.9 × pixels"),
        ((0.70, 0.76), "every seed"),  # means over seeds are compared
        ((), "not claimed: nobody measured whether all reach 0.9 × pixels"),
    ],
)
def test_no_ordering_is_claimed_unless_the_training_learns_what_its_features_allow(all_masks, holds):
    learns = Learns(reaches=("all", ""), of=("pixels", ""), measure="accuracy")
    ablation = replace(
        pair(), cells=tuple(Cell(row=row) for row in ("a", "b", "all", "pixels")), learns=(learns,)
    )
    numbers = measured(a=(0.5, 0.6), b=(0.4, 0.5), all=all_masks, pixels=(0.8,))
    found = verdict(ablation, ablation.claims[0], numbers)
    assert found["holds"] == holds
    assert found["differences"] == pytest.approx([0.1, 0.1])  # the numbers stay
    assert learnt(learns, numbers)["holds"] == (holds == "every seed")
