"""Random numbers by counter (splitmix64): the same scene on any machine, in any batch, in any order.

Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

from collections.abc import Sequence
from typing import TypeVar, no_type_check

import numpy as np

from lexiseg.core.compiled import njit

Item = TypeVar("Item")

_MASK = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_GOLDEN_64, _FIRST_64, _SECOND_64 = np.uint64(_GOLDEN), np.uint64(_FIRST), np.uint64(_SECOND)
_TO_UNIT = 2.0**-53


def mix(value: int) -> int:
    """Scatter 64 bits: neighbouring numbers give unrelated ones."""
    value = (value ^ (value >> 30)) * _FIRST & _MASK
    value = (value ^ (value >> 27)) * _SECOND & _MASK
    return value ^ (value >> 31)


def scene_key(seed: int, index: int) -> int:
    """Return the number from which everything of one scene follows."""
    return mix(mix((seed + _GOLDEN) & _MASK) + index * _GOLDEN & _MASK)


class Draws:
    """A stream of random numbers for the words of one scene.

    Args:
        key: As ``scene_key`` gave it.
        purpose: Streams of different purposes are unrelated: other words leave the image as it is.
    """

    def __init__(self, key: int, purpose: int) -> None:
        self.state = mix(key ^ mix(purpose))

    def unit(self) -> float:
        """Draw a number in [0, 1)."""
        self.state = (self.state + _GOLDEN) & _MASK
        return (mix(self.state) >> 11) * _TO_UNIT

    def one_of(self, items: Sequence[Item]) -> Item:
        """Draw one of some items, all alike."""
        return items[int(self.unit() * len(items))]


@njit(cache=True, nogil=True)
@no_type_check
def mixed(value):
    """Scatter 64 bits, as ``mix``."""
    value = (value ^ (value >> np.uint64(30))) * _FIRST_64
    value = (value ^ (value >> np.uint64(27))) * _SECOND_64
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
@no_type_check
def start_stream(state, seed, index, purpose):
    """Set a stream (an array of one ``uint64``) to the beginning of a scene's numbers, as ``Draws``."""
    key = mixed(mixed(np.uint64(seed) + _GOLDEN_64) + np.uint64(index) * _GOLDEN_64)
    state[0] = mixed(key ^ mixed(np.uint64(purpose)))


@njit(cache=True, nogil=True)
@no_type_check
def unit(state):
    """Draw a number in [0, 1)."""
    state[0] += _GOLDEN_64
    return np.float64(mixed(state[0]) >> np.uint64(11)) * _TO_UNIT


@njit(cache=True, nogil=True)
@no_type_check
def between(state, low, high):
    """Draw a number in [low, high)."""
    return low + (high - low) * unit(state)


@njit(cache=True, nogil=True)
@no_type_check
def by_weight(state, weights):
    """Draw a place with a chance that is proportional to its weight; -1 where all weights are 0."""
    total = 0.0
    for place in range(len(weights)):
        total += weights[place]
    if total <= 0.0:
        return -1
    left = unit(state) * total
    last = -1
    for place in range(len(weights)):
        if weights[place] > 0.0:
            last = place
            left -= weights[place]
            if left < 0.0:
                break
    return last


@njit(cache=True, nogil=True)
@no_type_check
def direction(state):
    """Draw a direction as a unit vector, without functions that differ between machines."""
    while True:
        x, y = between(state, -1.0, 1.0), between(state, -1.0, 1.0)
        length = x * x + y * y
        if 0.01 < length <= 1.0:
            return x / np.sqrt(length), y / np.sqrt(length)
