"""SceneTeacher: an image-text model of scenes that is made up, so that the right answer is known.

Every class has a direction, which is the embedding of its names. A dense feature is the mixture of the directions in
its patch, the image vector that of the whole image, both with noise. It reads the truth of a scene as a
real teacher reads pixels: what training sees of the labels is another matter.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt16

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import WIDTH, Range, check_ranges
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.scenes.settings import WorldSettings
from lexiseg.data.scenes.world import world_of
from lexiseg.data.teacher_features import TeacherFeatures


@dataclass(frozen=True, kw_only=True)
class SceneTeacherSettings:
    """What the made-up teacher knows and how badly.

    Attributes:
        width: Length of a vector; at least the number of classes.
        patch: Pixels per dense feature; divides the size of scenes.
        likeness: Cosine of the directions of any two classes.
        confusions: Two class names and the cosine of their directions instead.
        noise: Length of the noise of a dense feature; a class's direction has length 1.
        region_noise: Length of a deviation that all features of a class in one image share.
        image_noise: Length of the noise of an image vector.
        seed: Of directions and noise.
    """

    width: int = 64
    patch: int = 4
    likeness: float = 0.1
    confusions: tuple[tuple[str, str, float], ...] = ()
    noise: float = 1.0
    region_noise: float = 0.5
    image_noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            {
                "width": WIDTH,
                "seed": Range(least=0),
                **dict.fromkeys(("noise", "region_noise", "image_noise"), Range(least=0, most=1000)),
            },
            method="the teacher of scenes",
        )
        lengths = (self.noise, self.region_noise, self.image_noise)
        if self.patch < 1 or min(lengths) < 0 or not 0 <= self.likeness < 1:
            raise InputError(
                doing="reading the settings of the teacher of scenes",
                found=f"patch {self.patch}, noises {lengths}, likeness {self.likeness}",
                expected="a patch of 1 or more, noises of 0 or more, a likeness from 0 to below 1",
                fix="Correct them, or leave them out.",
            )


class SceneTeacher(TeacherFeatures):
    """Features of the scenes of a data set; a mirrored image has the mirrored features.

    Args:
        scenes: With all classes labelled.
        world: What the scenes were made with.
        settings: How good the teacher is.

    Raises:
        InputError: The settings do not fit the scenes.
    """

    def __init__(self, scenes: LabelledDataset, world: WorldSettings, settings: SceneTeacherSettings) -> None:
        if world.size % settings.patch:
            raise InputError(
                doing="setting up the teacher of scenes",
                found=f"patches of {settings.patch} pixels for scenes of {world.size}",
                expected="a patch that divides the size",
                fix="Change teacher.scenes.patch.",
            )
        self.scenes, self.settings = scenes, settings
        self.width = settings.width
        self.directions = class_directions(world, settings)
        parts = f"scene teacher 1 {settings!r} {scenes.fingerprint()}"
        self.fingerprint = hashlib.sha256(parts.encode()).hexdigest()

    def read(
        self, index: int, *, flipped: bool
    ) -> tuple[Float32[np.ndarray, "D h w"], Float32[np.ndarray, " D"]]:
        """Return the features of a scene, about of length 1 where one class fills a patch."""
        label_map = self.scenes[index].label_map
        assert label_map is not None, "scenes have labels"
        rng = np.random.default_rng([self.settings.seed, 1, index])
        shares = patch_shares(label_map, len(self.directions), self.settings.patch)
        deviations = self._noise(rng, self.directions.shape) * self.settings.region_noise
        maps = np.einsum("khw,kd->dhw", shares, self.directions + deviations)
        maps += self._noise(rng, (*maps.shape[1:], self.width)).transpose(2, 0, 1) * self.settings.noise
        vector = shares.mean(axis=(1, 2)) @ self.directions
        vector += self._noise(rng, (self.width,)) * self.settings.image_noise
        if flipped:
            maps = maps[:, :, ::-1]
        return np.ascontiguousarray(maps, np.float32), vector.astype(np.float32)

    def _noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
        """Draw vectors of about length 1."""
        return rng.normal(size=shape) / np.sqrt(self.width)


def patch_shares(
    label_map: UInt16[np.ndarray, "H W"], num_classes: int, patch: int
) -> Float64[np.ndarray, "K h w"]:
    """Return the share of every class in every patch; void is of no class."""
    height, width = (side // patch for side in label_map.shape)
    one_hot = label_map[None] == np.arange(num_classes, dtype=np.uint16)[:, None, None]
    return one_hot.reshape(num_classes, height, patch, width, patch).mean(axis=(2, 4))


def class_directions(world: WorldSettings, settings: SceneTeacherSettings) -> Float64[np.ndarray, "K D"]:
    """Return unit vectors with exactly the cosines that the settings ask for.

    Raises:
        InputError: No vectors have such cosines, there are more classes than dimensions, or a name is unknown.
    """
    vocabulary = world_of(world).vocabulary
    count = len(vocabulary)
    cosines = np.full((count, count), settings.likeness)
    np.fill_diagonal(cosines, 1)
    for first, second, cosine in settings.confusions:
        one, two = vocabulary.index(first), vocabulary.index(second)
        cosines[one, two] = cosines[two, one] = cosine
    values, vectors = np.linalg.eigh(cosines)
    if count > settings.width or values.min() < -1e-9:
        raise InputError(
            doing="setting up the teacher of scenes",
            found=f"cosines of {count} classes that no vectors of length {settings.width} have",
            expected="as many dimensions as classes or more, and cosines that do not contradict each other",
            fix="Raise teacher.scenes.width, or change likeness and confusions.",
        )
    roots = vectors * np.sqrt(values.clip(min=0))
    square = np.random.default_rng([settings.seed, 0]).normal(size=(settings.width, settings.width))
    turned, _ = np.linalg.qr(square)
    return roots @ turned[:count]


def embed_scene_names(
    world: WorldSettings, settings: SceneTeacherSettings, names: Sequence[str]
) -> Float32[np.ndarray, "S D"]:
    """Embed names: a class or a synonym of one has its direction, any other word a random one of its own."""
    directions, vocabulary = class_directions(world, settings), world_of(world).vocabulary
    known = {word.casefold(): label for label, words in enumerate(vocabulary.all_names()) for word in words}
    rows = [
        directions[known[name.casefold()]]
        if name.casefold() in known
        else _direction_of(name, settings.width)
        for name in names
    ]
    return np.stack(rows).astype(np.float32)


def _direction_of(name: str, width: int) -> Float64[np.ndarray, " D"]:
    seed = int.from_bytes(hashlib.sha256(name.casefold().encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=width)
    return vector / np.linalg.norm(vector)
