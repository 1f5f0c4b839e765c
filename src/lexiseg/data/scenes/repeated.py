"""RepeatedScenes: a set of scenes that is visited again and again, as images with captions are."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.data.captions.word_prompts import MakeTexts
from lexiseg.data.scenes.draw import WORLD_VERSION, scene_batch
from lexiseg.data.scenes.settings import WorldSettings
from lexiseg.data.stepwise import StepwiseData


@dataclass
class RepeatedScenes:
    """Batches of a set of scenes in a new order each epoch; what ``StepwiseData`` calls.

    Attributes:
        settings: What scenes are like.
        seed: Which row of scenes, and of orders.
        num_scenes: The set: scenes 0 up to this.
        batch_size: Rows of a whole batch.
        word_prompts: Makes further sentences of a scene's name and caption at each visit; None makes none.
    """

    settings: WorldSettings
    seed: int
    num_scenes: int
    batch_size: int
    word_prompts: MakeTexts | None
    _drawn: Batch | None = field(default=None, init=False, repr=False)
    _order: tuple[int, np.ndarray] | None = field(default=None, init=False, repr=False)

    def __call__(self, step: int, start: int, stop: int) -> Batch:
        """Return rows ``start`` up to ``stop`` of the batch of a step."""
        if self._drawn is None:
            count = self.num_scenes
            self._drawn = scene_batch(
                self.settings, self.seed, 0, 0, count, count, label_maps=False, tags=False, training=True
            )
        drawn = self._drawn
        assert drawn.captions is not None
        visits = [divmod(step * self.batch_size + row, self.num_scenes) for row in range(start, stop)]
        rows = [int(self._orders(epoch)[place]) for epoch, place in visits]
        captions = tuple(drawn.captions[row] for row in rows)
        sources = tuple(drawn.sources[row] for row in rows)
        prompts = None
        if self.word_prompts is not None:
            prompts = tuple(
                self.word_prompts(source, caption, np.random.default_rng((self.seed, row, epoch)))
                for source, caption, row, (epoch, _) in zip(sources, captions, rows, visits, strict=True)
            )
        return Batch(
            images=drawn.images[torch.tensor(rows)], sources=sources, captions=captions, word_prompts=prompts
        )

    def _orders(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, 1, epoch)).permutation(self.num_scenes)
        return self._order[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_drawn": None, "_order": None}


def repeated_scenes(
    settings: WorldSettings, *, seed: int, num_scenes: int, batch_size: int, word_prompts: MakeTexts | None
) -> StepwiseData:
    """Return endless training data of one set of scenes. Arguments as for ``RepeatedScenes``.

    Raises:
        InputError: There are fewer scenes than a batch holds.
    """
    if num_scenes < batch_size:
        raise InputError(
            doing="making training data of scenes",
            found=f"{num_scenes} scenes for batches of {batch_size}",
            expected="a batch of scenes or more",
            fix="Raise num_training_scenes or lower run.batch_size.",
        )
    make = RepeatedScenes(settings, seed, num_scenes, batch_size, word_prompts)
    facts: dict[str, Any] = {"data": type(settings).__name__, "seed": seed, "num_scenes": num_scenes}
    if word_prompts is not None:
        facts["word_prompts"] = word_prompts.describe()
    return StepwiseData(
        make,
        batch_size=batch_size,
        fingerprint=hashlib.sha256(f"{WORLD_VERSION} {make!r}".encode()).hexdigest(),
        facts=facts,
    )
