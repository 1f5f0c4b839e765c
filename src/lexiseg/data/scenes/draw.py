"""Draw scenes: one as a sample, many as a batch, endlessly as training data, a fixed number to evaluate on."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int32, UInt8, UInt16

from lexiseg.core.batch import Batch, Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.word_prompts import MakeTexts
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.scenes.captions import write_captions
from lexiseg.data.scenes.painting import paint_scenes
from lexiseg.data.scenes.random_numbers import mix, scene_key
from lexiseg.data.scenes.settings import WorldSettings
from lexiseg.data.scenes.world import World, world_of
from lexiseg.data.stepwise import StepwiseData

#: A caption and a seed to the caption that training shall see.
Corruption = Callable[[str, int], str]

#: Changes when the same settings and seed give other scenes than before.
WORLD_VERSION = 1

#: Seeds of training are below this, seeds of evaluation at or above: the scenes are never the same.
FIRST_EVALUATION_SEED = 1 << 40

_CORRUPTION_PURPOSE, _WORD_PROMPTS_PURPOSE = 9, 10


def scene_vocabulary(settings: WorldSettings) -> Vocabulary:
    """Return the classes by label: things, then stuffs; ``seen`` is set where there is a split.

    Raises:
        InputError: The settings name classes that are not there.
        DatasetError: The folder of cut-outs cannot be used.
    """
    return world_of(settings).vocabulary


def draw_scene(settings: WorldSettings, seed: int, index: int, *, training: bool = False) -> Sample:
    """Draw one scene: a pure function, the same on every machine.

    Args:
        settings: What scenes are like.
        seed: Which row of scenes; 0 or more.
        index: Number in the row; 0 or more.
        training: Treat unseen classes as ``unseen_in_training`` says; otherwise they are labelled.

    Returns:
        A sample with label map, tags (the classes of the label map, without background) and captions.
    """
    world = world_of(settings)
    images, label_maps, areas = _paint(settings, world, seed, index, 1, training)
    captions = write_captions(
        settings, world.words, areas[0], scene_key(seed, index), settings.captions_per_scene
    )
    return Sample(
        image=np.ascontiguousarray(images[0].transpose(1, 2, 0)),
        source=Path(_name(seed, index)),
        label_map=label_maps[0],
        tags=frozenset(np.flatnonzero(_tags(world, areas)[0]).tolist()),
        captions=captions,
    )


def scene_batch(
    settings: WorldSettings,
    seed: int,
    step: int,
    start: int,
    stop: int,
    batch_size: int,
    *,
    label_maps: bool = True,
    tags: bool = True,
    captions: bool = True,
    corruption: Corruption | None = None,
    word_prompts: MakeTexts | None = None,
    training: bool = False,
) -> Batch:
    """Draw rows ``start`` up to ``stop`` of the batch of a step; row ``r`` is scene ``step * batch_size + r``.

    Args:
        settings: What scenes are like.
        seed: Which row of scenes.
        step: Number of the batch.
        start: First row.
        stop: The row after the last.
        batch_size: Rows of a whole batch.
        label_maps: Whether the batch has label maps.
        tags: Whether it has image tags.
        captions: Whether it has captions: the first of each scene.
        corruption: Changes captions; called with each caption and a seed of its own.
        word_prompts: Makes further sentences of each scene's name and caption; None makes none.
        training: As for ``draw_scene``.
    """
    world = world_of(settings)
    first = step * batch_size + start
    images, maps, areas = _paint(settings, world, seed, first, stop - start, training)
    texts: list[str] = []
    further: list[tuple[str, ...]] = []
    for row in range(stop - start) if captions else ():
        key = scene_key(seed, first + row)
        (text,) = write_captions(settings, world.words, areas[row], key, 1)
        if word_prompts is not None:
            draws = np.random.default_rng(mix(key ^ _WORD_PROMPTS_PURPOSE))
            further.append(word_prompts(_name(seed, first + row), text, draws))
        texts.append(text if corruption is None else corruption(text, mix(key ^ _CORRUPTION_PURPOSE)))
    return Batch(
        images=torch.from_numpy(images),
        sources=tuple(_name(seed, first + row) for row in range(stop - start)),
        captions=tuple(texts) if captions else None,
        word_prompts=tuple(further) if captions and word_prompts is not None else None,
        label_maps=torch.from_numpy(maps.astype(np.int64)) if label_maps else None,
        tags=torch.from_numpy(_tags(world, areas)) if tags else None,
    )


@dataclass(frozen=True, kw_only=True)
class MakeSceneBatch:
    """What ``StepwiseData`` calls; crosses process borders. Attributes as for ``scene_batch``."""

    settings: WorldSettings
    seed: int
    batch_size: int
    label_maps: bool
    tags: bool
    captions: bool
    corruption: Corruption | None
    word_prompts: MakeTexts | None

    def __call__(self, step: int, start: int, stop: int) -> Batch:
        """Draw rows ``start`` up to ``stop`` of the batch of a step."""
        return scene_batch(
            self.settings,
            self.seed,
            step,
            start,
            stop,
            self.batch_size,
            label_maps=self.label_maps,
            tags=self.tags,
            captions=self.captions,
            corruption=self.corruption,
            word_prompts=self.word_prompts,
            training=True,
        )


def scene_training_data(
    settings: WorldSettings,
    *,
    seed: int,
    batch_size: int,
    label_maps: bool = False,
    tags: bool = False,
    captions: bool = True,
    corruption: Corruption | None = None,
    word_prompts: MakeTexts | None = None,
) -> StepwiseData:
    """Return endless training data; unseen classes are treated as ``unseen_in_training`` says.

    Args:
        settings: What scenes are like.
        seed: Which row of scenes, from 0 to 2**40 - 1; other seeds give other scenes.
        batch_size: Rows of a batch over all devices.
        label_maps: Whether batches have label maps.
        tags: Whether they have image tags.
        captions: Whether they have captions.
        corruption: Changes captions: a picklable function of a caption and a seed.
        word_prompts: Makes further sentences of a scene's name, its caption and random numbers; picklable, and
            its ``repr`` changes with what it gives. None makes none.

    Raises:
        InputError: The seed is out of range, or the settings name classes that are not there.
        DatasetError: The folder of cut-outs cannot be used.
    """
    if not 0 <= seed < FIRST_EVALUATION_SEED:
        raise settings.refuse(
            f"the seed {seed}",
            "a whole number from 0 to 2**40 - 1; higher ones are for evaluation",
            "Take another.",
        )
    world = world_of(settings)
    make = MakeSceneBatch(
        settings=settings,
        seed=seed,
        batch_size=batch_size,
        label_maps=label_maps,
        tags=tags,
        captions=captions,
        corruption=corruption,
        word_prompts=word_prompts,
    )
    kind = type(settings).__name__
    facts: dict[str, Any] = {
        "data": kind, "seed": seed, "classes": list(world.vocabulary.names), "size": settings.size,
    }  # fmt: skip
    if word_prompts is not None:
        facts["word_prompts"] = word_prompts.describe()
    parts = f"{WORLD_VERSION} {make!r} {world.content}"
    return StepwiseData(
        make, batch_size=batch_size, fingerprint=hashlib.sha256(parts.encode()).hexdigest(), facts=facts
    )


def _paint(
    settings: WorldSettings, world: World, seed: int, first: int, count: int, training: bool
) -> tuple[UInt8[np.ndarray, "B 3 H W"], UInt16[np.ndarray, "B H W"], Int32[np.ndarray, "B K"]]:
    assert min(seed, first) >= 0, f"scene {first} of seed {seed}"
    size = settings.size
    images = np.empty((count, 3, size, size), np.uint8)
    label_maps = np.empty((count, size, size), np.uint16)
    areas = np.empty((count, len(world.vocabulary)), np.int32)
    paint_scenes(world.training_tables if training else world.tables, seed, first, images, label_maps, areas)
    if training and settings.unseen_in_training == "hidden" and world.vocabulary.seen is not None:
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint16)
        seen = sorted(world.vocabulary.seen)
        table[seen] = seen
        label_maps = table[label_maps]
    return images, label_maps, areas


def _tags(world: World, areas: np.ndarray) -> np.ndarray:
    tags = areas > 0
    if world.vocabulary.background is not None:
        tags[:, world.vocabulary.background] = False
    return tags


def _name(seed: int, index: int) -> str:
    return f"scene-{seed}-{index}"


class SceneDataset(LabelledDataset):
    """Scenes drawn when they are asked for; all classes are labelled, unseen ones too.

    No scene is one of training data, whatever the seeds.

    Args:
        settings: What scenes are like; usually those of training.
        num_scenes: How many.
        seed: Another seed gives other scenes.

    Raises:
        InputError: There is no scene, or the settings name classes that are not there.
    """

    def __init__(self, settings: WorldSettings, num_scenes: int, *, seed: int = 0) -> None:
        if num_scenes < 1 or seed < 0:
            raise InputError(
                doing="opening scenes to evaluate on",
                found=f"{num_scenes} scenes of seed {seed}",
                expected="1 or more scenes, of a seed of 0 or more",
                fix="Correct the numbers.",
            )
        self.settings = settings
        self.seed = FIRST_EVALUATION_SEED + seed
        self.path = Path(f"scenes-{seed}")
        self.split = None
        self.vocabulary = world_of(settings).vocabulary
        self.stems = [f"scene-{self.seed}-{index}" for index in range(num_scenes)]

    def __getitem__(self, index: int) -> Sample:
        """Draw one scene; a negative index counts from the end.

        Raises:
            IndexError: There are not so many.
        """
        return draw_scene(self.settings, self.seed, range(len(self.stems))[index])

    def fingerprint(self) -> str:
        """Hash what the scenes follow from."""
        world = world_of(self.settings)
        parts = f"{WORLD_VERSION} {self.settings!r} {self.seed} {len(self)} {world.content}"
        return hashlib.sha256(parts.encode()).hexdigest()
