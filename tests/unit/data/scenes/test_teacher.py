import dataclasses

import numpy as np
import pytest

from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.data.scenes import SceneDataset
from lexiseg.data.scenes.settings import zero_shot_scenes
from lexiseg.data.scenes.teacher import (
    SceneTeacher,
    SceneTeacherSettings,
    class_directions,
    embed_scene_names,
    patch_shares,
)

WORLD = zero_shot_scenes()
CLEAN = SceneTeacherSettings(noise=0.0, region_noise=0.0, image_noise=0.0)


def test_directions_have_the_cosines_that_were_asked_for():
    settings = SceneTeacherSettings(likeness=0.2, confusions=(("ring", "heart", 0.7),))
    directions = class_directions(WORLD, settings)
    cosines = directions @ directions.T
    expected = np.full((12, 12), 0.2)
    np.fill_diagonal(expected, 1)
    expected[2, 4] = expected[4, 2] = 0.7
    np.testing.assert_allclose(cosines, expected, atol=1e-9)


def test_names_and_nothing_else_have_the_directions_of_classes():
    texts = embed_scene_names(WORLD, CLEAN, ["Ring", "zebra", "zebra", "quagga"])
    np.testing.assert_allclose(texts[0], class_directions(WORLD, CLEAN)[2], atol=1e-6)
    np.testing.assert_array_equal(texts[1], texts[2])
    assert abs(texts[1] @ texts[3]) < 0.5
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)


def test_shares_of_patches_by_hand():
    shares = patch_shares(np.array([[0, 1], [1, 65535]], np.uint16), 2, 2)
    assert shares.tolist() == [[[0.25]], [[0.5]]]


def test_without_noise_features_are_mixtures_of_directions():
    scenes = SceneDataset(WORLD, 3)
    maps, vector = SceneTeacher(scenes, WORLD, CLEAN).read(1, flipped=False)
    directions = class_directions(WORLD, CLEAN)
    pure = (scenes[1].label_map.reshape(16, 4, 16, 4) == scenes[1].label_map[::4, ::4][:, None, :, None]).all(
        axis=(1, 3)
    )
    rows, columns = np.nonzero(pure & (scenes[1].label_map[::4, ::4] < 12))
    labels = scenes[1].label_map[::4, ::4][rows, columns]
    np.testing.assert_allclose(maps[:, rows, columns].T, directions[labels], atol=1e-6)
    np.testing.assert_allclose(vector, maps.mean(axis=(1, 2)), atol=1e-6)


def test_a_mirrored_scene_has_mirrored_features_and_the_same_vector():
    teacher = SceneTeacher(SceneDataset(WORLD, 2), WORLD, SceneTeacherSettings())
    maps, vector = teacher.read(0, flipped=False)
    mirrored, same = teacher.read(0, flipped=True)
    np.testing.assert_array_equal(mirrored, maps[:, :, ::-1])
    np.testing.assert_array_equal(vector, same)


def test_noise_has_the_length_that_was_asked_for():
    loud = SceneTeacherSettings(noise=2.0, region_noise=0.0, image_noise=0.0)
    scenes = SceneDataset(WORLD, 1)
    clean, noisy = (SceneTeacher(scenes, WORLD, each).read(0, flipped=False)[0] for each in (CLEAN, loud))
    assert np.linalg.norm(noisy - clean, axis=0).mean() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"width": 8}, InputError, "12 classes that no vectors of length 8 have"),
        (
            {"confusions": (("ring", "heart", 0.95), ("heart", "star", 0.95), ("ring", "star", -0.5))},
            InputError,
            "no vectors of length 64",
        ),
        ({"confusions": (("ring", "zebra", 0.5),)}, VocabularyError, "zebra"),
        ({"patch": 5}, InputError, "patches of 5 pixels for scenes of 64"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, error, message):
    settings = dataclasses.replace(SceneTeacherSettings(), **changes)
    with pytest.raises(error, match=message):
        SceneTeacher(SceneDataset(WORLD, 1), WORLD, settings)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"found noise = -1\.0; expected a number from 0"):
        SceneTeacherSettings(noise=-1.0)
