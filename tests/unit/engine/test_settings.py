"""Settings that cannot work are refused before anything is built."""

import pytest

from lexiseg.core.errors import InputError
from lexiseg.engine.settings import OptimSettings, RunSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"eps": 0.0},
        {"momentum": 1.0},
        {"warmup_fraction": 1.5},
        {"final_factor": -0.1},
        {"poly_power": 0.0},
        {"clip_norm": 0.0},
        {"ema_decay": 1.0},
    ],
)
def test_an_impossible_optimiser_setting_is_named(wrong):
    name = next(iter(wrong))
    with pytest.raises(InputError, match=rf"found {name} = .* expected "):
        OptimSettings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_steps": 0},
        {"batch_size": 0},
        {"sub_batch_size": 0},
        {"num_workers": -1},
        {"keep_checkpoints": 0},
        {"precision": "fp16", "parallel": "fsdp"},
    ],
)
def test_an_impossible_run_setting_is_named(wrong):
    name = next(iter(wrong))
    with pytest.raises(InputError, match=rf"found {name} = "):
        RunSettings(**{"num_steps": 1, "batch_size": 1, **wrong})
