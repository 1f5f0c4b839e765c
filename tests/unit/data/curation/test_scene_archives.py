import pickle
from dataclasses import replace

import numpy as np
import pytest

from lexiseg.core.errors import InputError
from lexiseg.data.curation.scene_archives import (
    GAIN,
    LEVEL,
    CurationTeacher,
    SceneConcepts,
    SceneCuration,
    draw_scene_set,
    look,
)
from lexiseg.data.scenes.repeated import repeated_scenes
from lexiseg.recipes.cocu import hidden_scenes

SCENES = replace(hidden_scenes(), size=32, thing_size=(0.5, 0.7))
COUNT = 300
TEACHERS = {"made": CurationTeacher(), "learnt": CurationTeacher(kind="learnt", num_scenes=2000)}


@pytest.fixture(scope="module")
def scenes():
    return draw_scene_set(SCENES, 0, COUNT)


@pytest.fixture(scope="module")
def views(scenes):
    return {kind: look(scenes, teacher, SCENES) for kind, teacher in TEACHERS.items()}


def unnamed_recall(scenes, ranked) -> float:
    found = np.zeros_like(scenes.visible)
    owners = np.repeat(np.arange(COUNT), np.diff(ranked.lists.offsets))
    classes = scenes.class_of[ranked.lists.concepts]
    found[owners[classes >= 0], classes[classes >= 0]] = True
    unnamed = scenes.visible & ~scenes.said
    return float((found & unnamed).sum() / unnamed.sum())


def test_captions_name_things_and_hide_stuff(scenes):
    shares = (scenes.said & scenes.visible).sum(0) / scenes.visible.sum(0)
    assert shares[scenes.is_stuff].max() < shares[~scenes.is_stuff].min()
    assert not (scenes.said & ~scenes.visible).any()


@pytest.mark.parametrize("kind", TEACHERS)
def test_a_teacher_sees_what_is_there_at_the_level_of_clip(scenes, views, kind):
    view = views[kind]
    for rows in (view.images, view.captions, view.concepts):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    similarities = view.images @ view.concepts.T
    assert LEVEL - GAIN < similarities.min() < similarities.max() < LEVEL + 1.5 * GAIN
    for concept, label in enumerate(scenes.class_of):
        if label >= 0:
            shown = scenes.visible[:, label]
            assert similarities[shown, concept].mean() > similarities[~shown, concept].mean()


@pytest.mark.parametrize("kind", TEACHERS)
def test_images_find_more_of_what_captions_leave_out_than_captions_do(scenes, views, kind):
    view = views[kind]
    found = [
        unnamed_recall(scenes, view.rank(view.search(how, 16), "guided")) for how in ("vision", "language")
    ]
    assert found[0] > found[1] + 0.2


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (CurationTeacher, "num_scenes", 216),
        (CurationTeacher, "noise", -0.1),
        (CurationTeacher, "stuff_weight", 1.5),
        (CurationTeacher, "popular", float("nan")),
        (SceneCuration, "neighbours", 0),
    ],
)
def test_settings_that_no_teacher_can_have_are_refused(kind, setting, value):
    with pytest.raises(InputError, match=f"{setting} = {value!r}; expected a number from"):
        kind(**{setting: value})


def test_a_scene_is_asked_for_concepts_of_its_own_archive(scenes):
    prompts = SceneConcepts(scenes, SCENES, SceneCuration(neighbours=8), count=3, prompts="single")
    again = pickle.loads(pickle.dumps(prompts))
    for scene in (0, 7, COUNT - 1):
        archive = {prompts.concepts[number] for number in prompts.lists[scene]}
        rng, other = np.random.default_rng(scene), np.random.default_rng(scene)
        texts = prompts(f"scene-0-{scene}", "a caption", rng)
        assert len(texts) == 3
        words = {text.removeprefix("a photo of a ").removesuffix(".") for text in texts} - {"a caption"}
        assert words <= archive
        assert len(words) == min(3, len(archive))
        assert again(f"scene-0-{scene}", "a caption", other) == texts


def test_curations_that_differ_are_told_apart(scenes):
    ways = [SceneCuration(), SceneCuration(sampling="top"), SceneCuration(teacher=CurationTeacher(noise=0.3))]
    made = [SceneConcepts(scenes, SCENES, way, count=3, prompts="single") for way in ways]
    assert len({repr(each) for each in made}) == len(ways)


def test_every_epoch_visits_all_scenes_once_in_another_order_and_a_row_stands_alone():
    data = repeated_scenes(SCENES, seed=3, num_scenes=12, batch_size=4, word_prompts=None)
    batches = list(data.batches(start_step=0, stop_step=6))
    epochs = [[name for batch in batches[a : a + 3] for name in batch.sources] for a in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(f"scene-3-{n}" for n in range(12))
    assert epochs[0] != epochs[1]
    (half,) = data.batches(start_step=4, stop_step=5, rank=1, world_size=2)
    assert half.sources == batches[4].sources[2:]
    assert half.captions == batches[4].captions[2:]
    assert (half.images == batches[4].images[2:]).all()


def test_fewer_scenes_than_a_batch_are_refused():
    with pytest.raises(InputError, match="found 3 scenes for batches of 4"):
        repeated_scenes(SCENES, seed=0, num_scenes=3, batch_size=4, word_prompts=None)
