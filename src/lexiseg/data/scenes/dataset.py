"""SceneDataset: a fixed number of scenes to evaluate on."""

import hashlib
from pathlib import Path

from lexiseg.core.errors import InputError
from lexiseg.core.sample import Sample
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.scenes.draw import FIRST_EVALUATION_SEED, WORLD_VERSION, draw_scene
from lexiseg.data.scenes.settings import WorldSettings
from lexiseg.data.scenes.world import world_of


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
