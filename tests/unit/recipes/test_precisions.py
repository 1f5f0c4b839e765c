"""Every tiny recipe makes a step in every precision: what a flag offers is no traceback."""

from dataclasses import replace

import pytest
import torch

from lexiseg.engine.devices import Devices
from lexiseg.engine.seeding import seed_all
from lexiseg.engine.training_state import TrainingState
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe

TINY = sorted(name for name in TRAINING_RECIPES if name.endswith("/tiny"))


@pytest.mark.exhaustive("name", "precision")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_step_in_half_precision(name, precision):
    recipe = find_recipe(name)
    recipe = replace(
        recipe, run=replace(recipe.run, num_steps=1, batch_size=4, precision=precision, device="cpu")
    )
    seed_all(0, "weights")
    model = recipe.build_model()
    state = TrainingState(model, recipe.optim, recipe.run, Devices(device=torch.device("cpu")))
    model.train()
    for batch in recipe.build_data().batches(start_step=0, stop_step=1):
        numbers = state.update(batch).check()
    assert state.step == 1
    assert numbers
