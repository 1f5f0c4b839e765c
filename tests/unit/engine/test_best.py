"""The weights of the best evaluation are what a run ends with, however often it was stopped."""

import json
from dataclasses import dataclass, field, replace

import pytest
import torch
from safetensors.torch import load_file

from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.engine import training_state
from lexiseg.engine.best import BestWeights
from lexiseg.engine.devices import Devices
from lexiseg.engine.loop import final_step
from lexiseg.runs.after_training import farewell, last_scores
from toy_trainable import ToyRecipe, contrast_recipe
from toy_training import StoppedError, run

HERE = Devices(device=torch.device("cpu"))


@dataclass(frozen=True, kw_only=True)
class ScoredRecipe(ToyRecipe):
    """Finds what it is told to, one evaluation after the other."""

    found: list[dict[str, float]] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list)

    def evaluate(self, model):
        self.weights.append(model.stem.weight.detach().clone())
        return self.found[len(self.weights) - 1]


def scored(values, name="score", **changes):
    recipe = contrast_recipe()
    settings = {field: getattr(recipe, field) for field in ("method", "optim")}
    run = replace(recipe.run, **{"evaluate_every": 2, "final": "best", **changes})
    return ScoredRecipe(**settings, run=run, found=[{name: value, "other_loss": -value} for value in values])


@pytest.mark.parametrize(
    ("name", "final", "best"),
    [("score", "best", 3), ("val_loss", "best", 1), ("score", "other_loss", 3), ("score", "last", 5)],
)
def test_a_run_ends_with_the_weights_of_the_best_evaluation(tmp_path, name, final, best):
    recipe = scored([0.2, 0.1, 0.3, 0.9, 0.9, 0.5], name, final=final)
    left = run(recipe, tmp_path)
    assert torch.equal(left["stem.weight"], recipe.weights[best])
    assert not torch.equal(recipe.weights[3], recipe.weights[4])
    assert final_step(tmp_path) == (2 * best + 2, "average" if final == "last" else "best")
    assert last_scores(tmp_path) == recipe.found[best]
    said = farewell(tmp_path, scores=last_scores(tmp_path), words="a")
    assert (f"the best evaluation, after step {2 * best + 2}" in said) == (final != "last")


@pytest.mark.parametrize("stop_after", [7, 9, 11])
def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, stop_after):
    values = [0.2, 0.1, 0.8, 0.3, 0.3, 0.5]
    whole = run(scored(values), tmp_path / "whole")
    with pytest.raises(StoppedError):
        run(scored(values), tmp_path / "two", stop_after=stop_after)
    went_on = scored(values[2 if stop_after < 8 else 4 :])  # from the checkpoint of step 4 or 8
    two = run(went_on, tmp_path / "two", resume=True)
    assert final_step(tmp_path / "two") == (6, "best")
    assert all(torch.equal(whole[name], two[name]) for name in whole)
    assert (tmp_path / "whole/log.jsonl").read_bytes() == (tmp_path / "two/log.jsonl").read_bytes()


def test_a_score_that_no_evaluation_gives_is_refused_and_nothing_else_counts_as_best(tmp_path):
    with pytest.raises(InputError, match=r"run.final = 'miou'.*last, best, or one of: score, other_loss"):
        run(scored([0.1] * 6, final="miou"), tmp_path)
    best = BestWeights("best", HERE)
    best.offer(1, {}, dict)
    best.offer(2, {"score": float("nan")}, dict)
    assert best.facts is None
    best.offer(3, {"score": 0.0}, lambda: {"a": torch.ones(1)})
    best.offer(4, {"other": -5.0}, lambda: {"a": torch.zeros(1)})  # another score begins anew
    assert best.facts == {"step": 4, "score": "other", "value": -5.0}


def test_a_checkpoint_that_says_nonsense_of_its_best_step_is_damaged(tmp_path):
    run(scored([0.2, 0.1, 0.3, 0.9, 0.9, 0.5], num_steps=4), tmp_path)
    checkpoint = tmp_path / "checkpoints/step-000004"
    assert torch.equal(
        load_file(checkpoint / "best.safetensors")["stem.weight"],
        load_file(tmp_path / "model.safetensors")["stem.weight"],
    )
    state = json.loads((checkpoint / "state.json").read_text())
    for best in (None, {"step": "four"}, {"step": 4, "score": "score", "value": None}, 7):
        (checkpoint / "state.json").write_text(json.dumps({**state, "best": best}))
        with pytest.raises(CheckpointError, match="the best step so far"):
            run(scored([0.2], num_steps=6), tmp_path, resume=True)


def too_large(limit):
    """Make an ``add`` that fails as a GPU does where a part has more than ``limit`` samples."""
    build = training_state.build_gradients

    def built(model, devices, sub_batch_size, share):
        gradients = build(model, devices, sub_batch_size, share)
        add = gradients.add

        def checked(batch, *others):
            if gradients.sub_batch_size > limit:
                add(batch, *others)  # memory ends after something was computed
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return add(batch, *others)

        gradients.add = checked
        return gradients

    return built


@pytest.mark.exhaustive
@pytest.mark.parametrize(("limit", "size"), [(4, 4), (3, 2), (1, 1)])
def test_parts_are_halved_until_they_fit_and_the_run_is_that_of_such_parts(
    tmp_path, monkeypatch, limit, size
):
    expected = run(contrast_recipe(), tmp_path / "small", sub_batch_size=size)
    monkeypatch.setattr(training_state, "build_gradients", too_large(limit))
    with pytest.warns(UserWarning, match=r"parts of 8 do not fit.*parts of 4, as --run.sub-batch-size 4"):
        halved = run(contrast_recipe(), tmp_path / "halved")
    assert all(torch.equal(expected[name], halved[name]) for name in expected)
    assert (tmp_path / "small/log.jsonl").read_bytes() == (tmp_path / "halved/log.jsonl").read_bytes()


def test_one_sample_that_does_not_fit_ends_the_run_with_what_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(training_state, "build_gradients", too_large(0))
    with (
        pytest.warns(UserWarning, match="do not fit"),
        pytest.raises(
            InputError, match=r"step 1 in parts of 1: found CUDA out of memory.*gradient-checkpointing"
        ),
    ):
        run(contrast_recipe(), tmp_path)
