"""LearntSceneTeacher: an image-text model of scenes that has learnt from captions, and knows no truth.

It has seen other scenes with their captions, as the learnt teacher of curations has (``scene_archives``): a colour histogram
and a word have vectors in the space of their canonical correlations. A dense feature is the vector of the
colours around a patch, the image vector that of all colours. It is as wrong as colours and captions make it.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from lexiseg.core.errors import InputError
from lexiseg.data.curation.scene_archives import COLOUR_LEVELS, Lessons, colour_numbers, learn_from_captions
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.scenes.settings import WorldSettings
from lexiseg.data.scenes.world import world_of
from lexiseg.data.teacher_features import TeacherFeatures

#: Scenes that it has seen with their captions.
LESSONS = 4000
# Patches to each side whose colours count for a dense feature.
_AROUND = 1


class LearntSceneTeacher(TeacherFeatures):
    """Features of the scenes of a data set; of a mirrored image they are mirrored.

    Args:
        scenes: Only their pixels are looked at.
        world: What the scenes were made with.
        patch: Pixels a dense feature; divides the size of scenes.
        seed: Of the scenes that it has learnt from.

    Raises:
        InputError: The patch does not divide the size of scenes.
    """

    def __init__(self, scenes: LabelledDataset, world: WorldSettings, *, patch: int, seed: int) -> None:
        if world.size % patch:
            raise InputError(
                doing="setting up the learnt teacher of scenes",
                found=f"patches of {patch} pixels for scenes of {world.size}",
                expected="a patch that divides the size",
                fix="Change teacher.scenes.patch.",
            )
        self.scenes, self.patch = scenes, patch
        self.lessons: Lessons = learn_from_captions(world, seed, LESSONS)
        self.width = self.lessons.of_images.shape[1]
        parts = f"learnt scene teacher 1 {world!r} {patch} {seed} {LESSONS} {scenes.fingerprint()}"
        self.fingerprint = hashlib.sha256(parts.encode()).hexdigest()

    def read(
        self, index: int, *, flipped: bool
    ) -> tuple[Float32[np.ndarray, "D h w"], Float32[np.ndarray, " D"]]:
        """Return the features of a scene; a cosine with the vector of a word says how well both go together."""
        shares = patch_colours(self.scenes[index].image, self.patch)
        height, width = shares.shape[:2]
        padded = np.pad(shares, ((_AROUND, _AROUND), (_AROUND, _AROUND), (0, 0)))
        steps = range(2 * _AROUND + 1)
        shifted = [padded[row : row + height, column : column + width] for row in steps for column in steps]
        around = np.sum(shifted, axis=0)
        around = np.sqrt(around / around.sum(axis=2, keepdims=True))
        maps = ((around - self.lessons.mean) @ self.lessons.of_images).transpose(2, 0, 1)
        vector = (np.sqrt(shares.mean(axis=(0, 1))) - self.lessons.mean) @ self.lessons.of_images
        if flipped:
            maps = maps[:, :, ::-1]
        return np.ascontiguousarray(maps, np.float32), vector.astype(np.float32)


def patch_colours(image: UInt8[np.ndarray, "H W 3"], patch: int) -> Float32[np.ndarray, "h w C"]:
    """Return the share of each of the colours of ``scene_archives`` in every patch."""
    colours = colour_numbers(image.transpose(2, 0, 1)[None])[0]
    height, width = (side // patch for side in colours.shape)
    rows, columns = np.indices(colours.shape) // patch
    places = (rows * width + columns) * COLOUR_LEVELS**3 + colours
    counts = np.bincount(places.ravel(), minlength=height * width * COLOUR_LEVELS**3)
    return (counts / patch**2).reshape(height, width, -1).astype(np.float32)


def embed_learnt_names(world: WorldSettings, seed: int, names: Sequence[str]) -> Float32[np.ndarray, "S D"]:
    """Return the vectors of names of classes; a word that is none goes with nothing, so its vector is near 0.

    Args:
        world: Whose classes and captions.
        seed: Of the scenes that were learnt from.
        names: Of classes, or synonyms.
    """
    lessons = learn_from_captions(world, seed, LESSONS)
    known = {
        name.casefold(): row
        for row, name in enumerate(
            dict.fromkeys(name for each in world_of(world).words for name in each.names)
        )
    }
    rows = np.full((len(names), lessons.concepts.shape[1]), 1e-6)
    for place, name in enumerate(names):
        if name.casefold() in known:
            rows[place] = lessons.concepts[known[name.casefold()]]
    return rows.astype(np.float32)
