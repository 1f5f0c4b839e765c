import dataclasses

import numpy as np
import pytest

from lexiseg.core.errors import InputError
from lexiseg.data.curation import learnt_scene_teacher
from lexiseg.data.curation.learnt_scene_teacher import LearntSceneTeacher, embed_learnt_names, patch_colours
from lexiseg.data.scenes import SceneDataset
from lexiseg.data.scenes.settings import SceneSettings
from lexiseg.ops.neighbours import unit_rows

WORLD = SceneSettings(size=32, num_things=4, num_stuffs=4, random_colour_rate=0.0)


@pytest.fixture(scope="module", autouse=True)
def short_lessons():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learnt_scene_teacher, "LESSONS", 600)
        yield


@pytest.fixture(scope="module")
def teacher(short_lessons) -> LearntSceneTeacher:
    return LearntSceneTeacher(SceneDataset(WORLD, 40), WORLD, patch=4, seed=0)


def test_shares_of_colours_are_those_of_the_pixels_of_a_patch():
    image = np.zeros((2, 4, 3), np.uint8)
    image[0, 2:] = 255
    shares = patch_colours(image, 2)
    assert shares.shape == (1, 2, 216)
    assert (shares[0, 0, 0], shares[0, 1, 0], shares[0, 1, 215]) == (1.0, 0.5, 0.5)


def test_words_of_captions_are_found_where_their_colours_are(teacher):
    names = list(SceneDataset(WORLD, 1).vocabulary.names)
    texts = unit_rows(embed_learnt_names(WORLD, 0, names))
    right = []
    for index, sample in enumerate(teacher.scenes):
        maps, _ = teacher.read(index, flipped=False)
        found = np.einsum("dhw,kd->khw", maps, texts).argmax(axis=0).repeat(4, 0).repeat(4, 1)
        known = sample.label_map < len(names)
        right.append((found == sample.label_map)[known].mean())
    assert np.mean(right) > 2 / len(names)


def test_pixels_are_looked_at_and_labels_are_not(teacher):
    class Unlabelled(SceneDataset):
        def __getitem__(self, index):
            return dataclasses.replace(super().__getitem__(index), label_map=None)

    blind = LearntSceneTeacher(Unlabelled(WORLD, 40), WORLD, patch=4, seed=0)
    for seen, unseen in zip(teacher.read(3, flipped=False), blind.read(3, flipped=False), strict=True):
        np.testing.assert_array_equal(seen, unseen)


def test_a_mirrored_scene_has_mirrored_features_and_the_same_vector(teacher):
    maps, vector = teacher.read(0, flipped=False)
    mirrored, same = teacher.read(0, flipped=True)
    np.testing.assert_array_equal(mirrored, maps[:, :, ::-1])
    np.testing.assert_array_equal(vector, same)
    assert maps.shape == (teacher.width, 8, 8)


def test_a_patch_that_does_not_divide_the_scene_is_refused():
    with pytest.raises(
        InputError, match=r"patches of 5 pixels for scenes of 32.*Change teacher\.scenes\.patch"
    ):
        LearntSceneTeacher(SceneDataset(WORLD, 1), WORLD, patch=5, seed=0)
