"""What everything that can be trained keeps, whichever method it is. Recipes fill the list; none is skipped."""

from dataclasses import replace

import pytest
import torch

from lexiseg.core.interfaces import Trainable
from lexiseg.engine.devices import Devices
from lexiseg.engine.gradients import build_gradients
from lexiseg.engine.seeding import seed_all
from lexiseg.engine.training_state import TrainingState
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe

#: The toys, and the small variant of every method: what can be trained has one.
RECIPES = [
    "toy_trainable:contrast_recipe",
    "toy_trainable:counts_recipe",
    *sorted(name for name in TRAINING_RECIPES if name.endswith("/tiny")),
]
SAMPLES = 4


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request):
    recipe = find_recipe(request.param)
    run = replace(recipe.run, batch_size=SAMPLES, num_steps=8, device="cpu", num_workers=0)
    optim = replace(recipe.optim, warmup_fraction=0.0, ema_decay=None, schedule="constant")
    return replace(recipe, run=run, optim=optim)


@pytest.fixture(scope="module")
def batch(recipe):
    return next(iter(recipe.build_data().batches(start_step=0, stop_step=1)))


@pytest.fixture
def model(recipe) -> Trainable:
    seed_all(recipe.run.seed, "weights")
    return recipe.build_model().train()


def gradients_of(model, recipe, batch, sub_batch_size=None):
    devices = Devices(device=torch.device("cpu"))
    seed_all(5)
    model.zero_grad()
    build_gradients(model, devices, sub_batch_size, len(batch)).add(
        batch, (1, 2, 0), torch.enable_grad, lambda loss: loss.backward()
    )
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_the_loss_is_finite_and_every_term_is_a_scalar(model, batch):
    losses = model.loss(batch)
    for name, value in {**losses.terms, **losses.observed}.items():
        assert value.shape == (), name
        assert torch.isfinite(value), name
    assert losses.total().requires_grad


def test_gradients_reach_exactly_what_is_said_to_be_trained(model, recipe, batch):
    trained = [name for group in model.parameter_groups() for name, _ in group.parameters]
    assert len(trained) == len(set(trained))
    assert set(trained) == {name for name, p in model.named_parameters() if p.requires_grad}
    found = gradients_of(model, recipe, batch)
    assert set(found) == set(trained)
    assert all(gradient.isfinite().all() for gradient in found.values())


def test_groups_give_the_parameters_of_the_model(model):
    parameters = dict(model.named_parameters())
    for group in model.parameter_groups():
        assert all(parameters[name] is parameter for name, parameter in group.parameters)


def test_the_same_state_and_random_numbers_give_the_same_loss(model, batch):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    totals = []
    for _ in range(2):
        model.load_state_dict(before)  # whatever a step leaves behind is in here, and so in a checkpoint
        seed_all(9)
        totals.append(model.loss(batch).total())
    assert torch.equal(totals[0], totals[1])


def test_a_few_steps_on_four_samples_lower_the_loss_and_leave_what_is_frozen(model, recipe, batch):
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    state = TrainingState(model, recipe.optim, recipe.run, Devices(device=torch.device("cpu")))
    totals = [state.update(batch).check()[0] for _ in range(recipe.run.num_steps)]
    assert min(totals[1:]) < totals[0]
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[name], value) for name, value in frozen.items())


def test_the_data_are_a_function_of_the_step_and_of_nothing_else(recipe):
    data = recipe.build_data()
    assert data.batch_size == SAMPLES
    late = list(data.batches(start_step=1, stop_step=3))
    again = list(recipe.build_data().batches(start_step=0, stop_step=3))[1:]
    for one, two in zip(late, again, strict=True):
        assert torch.equal(one.images, two.images)
        assert (one.sources, one.captions) == (two.sources, two.captions)
    halves = [next(iter(data.batches(start_step=1, stop_step=2, rank=rank, world_size=2))) for rank in (0, 1)]
    assert torch.equal(torch.cat([half.images for half in halves]), late[0].images)
    assert data.fingerprint() == recipe.build_data().fingerprint()


@pytest.mark.exhaustive
def test_the_score_for_the_log_does_not_depend_on_chance(model, recipe):
    model.eval()
    with torch.no_grad():
        first, second = recipe.evaluate(model), recipe.evaluate(model)
    assert first == second
    assert all(isinstance(value, float) for value in first.values())
