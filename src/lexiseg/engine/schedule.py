"""The learning rate over the steps, as a factor of its highest value. Pure functions.

Steps count from 0 (the first update) to ``num_steps``, which is the value after the last update.
"""

import math

from lexiseg.engine.settings import OptimSettings


def lr_factor(settings: OptimSettings, step: int, num_steps: int) -> float:
    """Give the factor of a step: a linear warm-up, then the schedule's shape.

    The warm-up takes ``floor(warmup_fraction * num_steps)`` steps.
    """
    warmup = warmup_steps(settings.warmup_fraction, num_steps)
    if step < warmup:
        return settings.warmup_start + (1 - settings.warmup_start) * step / warmup
    done = (step - warmup) / max(num_steps - warmup, 1)
    if settings.schedule == "cosine":
        return cosine(done, settings.final_factor)
    if settings.schedule == "poly":
        return poly(done, settings.poly_power, settings.final_factor)
    return 1.0


def warmup_steps(fraction: float, num_steps: int) -> int:
    """Give ``floor(fraction * num_steps)``, safe from the rounding of fractions such as 0.29."""
    return math.floor(fraction * num_steps + 1e-9)


def cosine(done: float, final: float) -> float:
    """Give half a cosine from 1 to ``final``; ``done`` goes from 0 to 1."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))


def poly(done: float, power: float, final: float) -> float:
    """Give ``(1 - done) ** power``, stretched to end at ``final``."""
    return final + (1 - final) * (1 - done) ** power
