"""Random numbers as a function of the step, so that no generator has to be saved or restored."""

import hashlib
import random

import numpy as np
import torch


def seed_all(*key: int | str) -> None:
    """Seed torch (all devices), numpy and Python from a key of a few numbers and words, such as seed, step and rank.

    Different keys give unrelated generators; costs about 50 microseconds.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little"))
    np.random.seed(
        int.from_bytes(digest[8:12], "little")
    )  # for libraries that draw from the global generator
    random.seed(digest[12:])
