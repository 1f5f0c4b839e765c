"""The rates that the papers give, and what every schedule keeps."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexiseg.engine.optim import lr_factor, warmup_steps
from lexiseg.engine.settings import OptimSettings

SIMSEG = OptimSettings(lr=3e-4, warmup_fraction=0.025, final_factor=0.1)
SIMFORMER = OptimSettings(lr=1e-4, schedule="poly")


@pytest.mark.parametrize(("step", "lr"), [(0, 0.0), (12, 1.44e-4), (25, 3e-4), (512, 1.652e-4), (1000, 3e-5)])
def test_the_schedule_of_the_paper_at_some_steps(step, lr):
    assert SIMSEG.lr * lr_factor(SIMSEG, step, 1000) == pytest.approx(lr, abs=1e-7 if step == 512 else 1e-12)


@pytest.mark.parametrize(
    ("done", "lr"),
    [(0, 1.0000e-4), (0.25, 7.7189e-5), (0.5, 5.3589e-5), (0.75, 2.8717e-5), (0.9, 1.2589e-5)],
)
def test_simformer_t1_poly(done, lr):
    assert SIMFORMER.lr * lr_factor(SIMFORMER, round(done * 60_000), 60_000) == pytest.approx(lr, abs=1e-9)


@pytest.mark.parametrize(
    ("fraction", "num_steps", "steps"), [(0.025, 1000, 25), (0.29, 100, 29), (0.025, 39, 0), (0.1, 19, 1)]
)
def test_the_warm_up_is_rounded_down_but_not_for_want_of_digits(fraction, num_steps, steps):
    assert warmup_steps(fraction, num_steps) == steps


@given(
    shape=st.sampled_from(["cosine", "poly", "constant"]),
    warmup=st.floats(0, 1),
    start=st.floats(0, 1),
    final=st.floats(0, 1),
    num_steps=st.integers(1, 300),
)
def test_rates_rise_in_the_warm_up_then_never_rise_and_end_where_they_should(
    shape, warmup, start, final, num_steps
):
    settings = OptimSettings(schedule=shape, warmup_fraction=warmup, warmup_start=start, final_factor=final)
    factors = [lr_factor(settings, step, num_steps) for step in range(num_steps + 1)]
    top = warmup_steps(warmup, num_steps)
    slack = 1e-12
    assert all(a <= b + slack for a, b in pairwise(factors[: top + 1]))
    assert all(a >= b - slack for a, b in pairwise(factors[top:]))
    assert all(0 <= factor <= 1 + slack for factor in factors)
    if top < num_steps:
        assert factors[top] == pytest.approx(1)
        assert factors[-1] == pytest.approx(1 if shape == "constant" else final, abs=1e-9)
