import pytest

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.data.scenes import SceneSettings, scene_vocabulary
from lexiseg.data.scenes.settings import find_preset


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"mention_rate": 1.5}, "mention_rate = 1.5", "a number from 0.0 to 1.0"),
        ({"void_share": float("nan")}, "void_share = nan", "a number from 0.0 to 1.0"),
        ({"size": 16}, "size = 16", "a number from 32 to 256"),
        ({"num_things": 25}, "num_things = 25", "a number from 1 to 24"),
        ({"num_stuffs": 13}, "num_stuffs = 13", "a number from 1 to 12"),
        ({"things_per_scene": (3, 2)}, "things_per_scene = (3, 2)", "the lowest and the highest number, from 0 to 8"),
        ({"things_per_scene": (1, 9)}, "things_per_scene = (1, 9)", "from 0 to 8"),
        ({"stuffs_per_scene": (1, 3), "num_stuffs": 2}, "stuffs_per_scene = (1, 3)", "from 1 to 2"),
        ({"thing_size": (0.5, 0.3)}, "thing_size = (0.5, 0.3)", "from 0.05 to 1.0"),
        ({"min_named": 5}, "min_named = 5", "a number from 0 to 4"),
        ({"captions_per_scene": 0}, "captions_per_scene = 0", "a number from 1 to 100"),
        ({"colour_jitter": 2.0}, "colour_jitter = 2.0", "a number from 0.0 to 1.0"),
        ({"random_colour_rate": -0.1}, "random_colour_rate = -0.1", "a number from 0.0 to 1.0"),
        ({"pairs": (("star", "ring", 2.0),)}, "the chance of a pair = 2.0", "a number from 0.0 to 1.0"),
        ({"class_mention_rates": (("star", 2.0),)}, "the mention rate of 'star' = 2.0", "a number from 0.0 to 1.0"),
        (
            {"unseen": ("star",), "unseen_share": 0.2},
            "unseen = star and unseen_share = 0.2",
            "one of the two",
        ),
        (
            {"pairs": (("star", "ring", 0.5),), "common_class": "person", "things_per_scene": (1, 2)},
            "pairs of things, and at most 2 things in a scene",
            "room for both and for the common class: 3",
        ),
        (
            {"num_things": 2, "things_per_scene": (1, 3)},
            "up to 3 things in a scene of 2 classes of things",
            "at least as many classes",
        ),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused_at_once(changes, found, expected):
    with pytest.raises(InputError) as caught:
        SceneSettings(**changes)
    assert caught.value.doing == "reading the settings of synthetic scenes"
    assert found in caught.value.found
    assert expected in caught.value.expected
    assert caught.value.fix


def test_an_unknown_choice_is_refused(without_type_checker):
    with pytest.raises(
        InputError, match="found stuff_as = 'trees'; expected one of: classes, background, void"
    ):
        SceneSettings(stuff_as="trees")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"unseen": ("cat",)},
            "found the class 'cat' in unseen, which is not in these scenes; expected one of 18 names",
        ),
        ({"common_class": "gear"}, "found the class 'gear' in common_class, which is not in these scenes"),
        ({"pairs": (("star", "grass", 0.5),)}, "found the class 'grass' in pairs"),
        ({"class_mention_rates": (("sun", 0.5),)}, "found the class 'sun' in class_mention_rates"),
        (
            {"pairs": (("star", "star", 0.5),)},
            "or of a class with itself; expected pairs of two other things",
        ),
        (
            {"pairs": (("star", "person", 0.5),), "common_class": "person"},
            "found a pair with the common class",
        ),
        ({"unseen_share": 1.0}, "found all 18 classes unseen; expected one or more seen classes"),
        (
            {"unseen": ("grass",), "num_stuffs": 2, "unseen_in_training": "absent"},
            "found 1 seen stuffs for training scenes without unseen classes; expected at least 2",
        ),
    ],
)
def test_names_that_do_not_fit_are_refused_when_the_world_is_built(changes, message):
    with pytest.raises(InputError) as caught:
        scene_vocabulary(SceneSettings(**changes))
    assert message in str(caught.value)


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Nearest: weak-shot"):
        find_preset("weakshot")
