"""How fast this machine is at what a fit does: measured once in seconds, and kept."""

import hashlib
import json
import os
import platform
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.cache_folder import default_cache, make_private
from lexiseg.core.errors import OutputError
from lexiseg.core.json_text import read_json_file
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.engine.pace import peak_memory
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.ops.ridge import RidgeSums
from lexiseg.recipes.frozen_head import open_describer

#: Rows of the regression that is timed.
_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Times of this machine, in seconds.

    Attributes:
        encode: To describe one image of 4:3.
        patches: Patches of that image.
        row: Of one patch in the sums of the regression.
        solve: Of the regression itself.
        memory: Most memory that the process had by then, in bytes; 0 where the system does not say.
        features: Length of a patch's vector.
    """

    encode: float
    patches: int
    row: float
    solve: float
    memory: int
    features: int

    def fit_seconds(self, num_images: int, num_scored: int, rounds: int) -> float:
        """Return what a fit takes: features, the regression in each round, and the score."""
        regression = (1 + rounds) * (num_images * self.patches * self.row + self.solve)
        return (num_images + num_scored) * self.encode + regression

    def fit_memory(self, num_images: int) -> int:
        """Return the memory that a fit takes, in bytes: features in half precision beside the networks."""
        return self.memory + 2 * num_images * self.patches * self.features


def calibrate(
    settings: FrozenHeadSettings, num_classes: int, *, again: bool = False
) -> tuple[Calibration, bool]:
    """Measure this machine, or read what was measured on it.

    Two images of noise are described, of which the second is timed, and a small regression is solved.

    Args:
        settings: Of the fit.
        num_classes: Number of classes.
        again: Measure though there are numbers.

    Returns:
        The times, and whether they were measured now.

    Raises:
        MissingWeightsError: The frozen networks are not here.
    """
    path = default_cache() / "calibration" / f"{_key(settings, num_classes)}.json"
    if not again and (kept := _read(path)) is not None:
        return kept, False
    found = _measure(settings, num_classes)
    try:
        make_private(path.parent)
        with atomic_path(path, durable=False) as temporary:
            temporary.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    except OutputError as error:
        warnings.warn(f"what was measured is not kept: {error}", stacklevel=2)
    return found, True


def _measure(settings: FrozenHeadSettings, num_classes: int) -> Calibration:
    names = Vocabulary(names=tuple(f"class {number}" for number in range(num_classes)))
    describer = open_describer(settings, names).encoder  # not from what is kept: that would time the disk
    rng = np.random.default_rng(0)
    seconds = 0.0
    for _ in range(2):
        image: UInt8[np.ndarray, "480 640 3"] = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
        size = fitted_size(
            image.shape[:2],
            short_side=settings.short_side,
            max_long_side=settings.max_long_side,
            multiple_of=describer.stride,
        )
        start = time.perf_counter()
        with torch.inference_mode():
            tokens = describer(resize_image(image, size)[None]).tokens[0]
        seconds = time.perf_counter() - start
    features = tokens.shape[1]
    rows = torch.randn(_ROWS, features)
    sums = RidgeSums.empty(features, num_classes)
    start = time.perf_counter()
    sums.add(rows, torch.rand(_ROWS, num_classes), torch.ones(_ROWS))
    row = (time.perf_counter() - start) / _ROWS
    start = time.perf_counter()
    sums.solve(settings.penalty, torch.zeros(features, num_classes))
    solve = time.perf_counter() - start
    memory = peak_memory() or 0
    return Calibration(
        encode=seconds, patches=len(tokens), row=row, solve=solve, memory=memory, features=features
    )


def _key(settings: FrozenHeadSettings, num_classes: int) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # Numbers of classes are taken together by their powers of two.
    facts = (platform.node(), platform.machine(), cores, torch.get_num_threads(), torch.__version__)
    said = (
        version("lexiseg"),
        settings.backbone,
        settings.prior,
        settings.short_side,
        num_classes.bit_length(),
    )
    return hashlib.sha256(repr((facts, said)).encode()).hexdigest()[:16]


def _read(path: Path) -> Calibration | None:
    """Read what was kept; None where there is nothing that can be used."""
    try:
        content = read_json_file(path)
        found = Calibration(**content)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return found if all(isinstance(value, int | float) and value >= 0 for value in content.values()) else None
