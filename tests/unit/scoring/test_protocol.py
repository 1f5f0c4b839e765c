from dataclasses import fields, replace

import pytest

from lexiseg.core.errors import DatasetError, InputError, UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import packaged_vocabulary
from lexiseg.data.datasets import DATASETS
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.prompts import PROMPT_SETS
from lexiseg.scoring.protocol import DESCRIPTIONS, Protocol, check_classes, effective_protocol, names_for
from lexiseg.scoring.published import PROTOCOLS, STEPS, find_protocol

#: Another value for every field that decides something, settings aside (tests/property has those).
OTHER = {
    "classes": "context60", "num_classes": 7, "names": "san", "background_names": ("stuff",), "steps": ("magic",),
    "not_applied": ("image-top5",), "true_background": "as_labelled", "averaging": "occurs", "boundary": 0.07,
    "unseen": ("cat",), "absent_unseen": "undefined", "imagenet_s": True,
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_complete_and_consistent(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.source
    assert bool(protocol.datasets) == (protocol.benchmark != "any")
    assert set(protocol.datasets) <= set(DATASETS)
    assert set(protocol.steps) <= set(STEPS)
    assert protocol.inference.get("prompts", "single") in PROMPT_SETS
    if "short_side" in protocol.inference:  # a size is not fixed by its short side alone
        assert {"max_long_side", "keep_aspect", "window"} <= set(protocol.inference)
    if protocol.classes is not None:
        names = packaged_vocabulary(protocol.classes).names
        assert len(names) + (protocol.true_background == "class") == protocol.num_classes
        assert set(protocol.unseen) <= set(names)
    if "threshold" in protocol.inference:
        assert protocol.inference["background"] == "threshold"


def test_changing_any_choice_changes_the_name_and_changing_it_back_restores_it():
    protocol = find_protocol("groupvit-voc")
    deciding = {item.name for item in fields(Protocol)} - {*DESCRIPTIONS, "inference"}
    assert set(OTHER) == deciding
    for field, value in OTHER.items():
        changed = replace(protocol, **{field: value})
        assert changed.name.startswith("groupvit-voc+")
        assert f"{field}=" in changed.name
        assert replace(changed, **{field: getattr(protocol, field)}).name == "groupvit-voc"


def test_changes_add_up_in_the_name():
    changed = find_protocol("groupvit-voc").changed(threshold=0.9).changed(short_side=336, averaging="all")
    assert changed.name == "groupvit-voc+short_side=336+threshold=0.9+averaging=all"
    assert replace(changed, name="groupvit-voc").name == changed.name


def test_a_known_name_cannot_be_given_to_other_choices():
    with pytest.raises(InputError, match="making the protocol voc20: found a protocol of that name"):
        Protocol(name="voc20", source="me", averaging="all")
    with pytest.raises(InputError, match="making the protocol voc21"):
        replace(find_protocol("voc20"), name="voc21", averaging="all")


def test_printing_shows_every_choice():
    text = str(find_protocol("groupvit-voc"))
    for item in fields(Protocol):
        assert item.name in ("name", "original", "inference") or item.name in text
    for setting in fields(InferenceSettings):
        assert f"  {setting.name} " in text
    for value in ("groupvit-voc", "448", "224", "0.95", "single", "image-top5", "occurs_or_predicted"):
        assert value in text


@pytest.mark.parametrize(
    ("given", "now"),
    [
        ({"threshold": 0.5}, "inference={'threshold': …}, or protocol.changed(threshold=…)"),
        ({"beyond": ("x",)}, "steps="),
        ({"uncertain": ("x",)}, "unknown="),
    ],
)
def test_an_old_spelling_is_refused_with_the_new_one(given, now):
    with pytest.raises(InputError) as refused:
        Protocol(name="mine", source="me", **given)
    assert now in str(refused.value)
    if "threshold" not in given:
        with pytest.raises(InputError, match="written in another way now"):
            find_protocol("voc20").changed(**given)


def test_a_setting_that_does_not_exist_or_a_value_that_cannot_be_used_is_refused():
    with pytest.raises(UnknownNameError, match=r"no inference setting of that name.*Nearest: refine"):
        Protocol(name="mine", source="me", inference={"refne": "crf"})
    with pytest.raises(InputError, match="window = 0; expected a whole number above 0"):
        Protocol(name="mine", source="me", inference={"window": 0})


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Nearest: voc20"):
        find_protocol("voc-20")


def test_names_are_renamed_and_background_left_out_where_it_is_not_scored():
    voc21 = packaged_vocabulary("voc21")
    asked = names_for(find_protocol("maskclip-voc20"), voc21)
    assert len(asked.vocabulary) == 20
    assert asked.vocabulary.names[0] == "airplane"
    assert asked.classes == tuple(range(1, 21))
    with_words = names_for(find_protocol("sclip-voc21"), voc21)
    assert with_words.vocabulary.background == 0
    assert len(with_words.vocabulary.all_names()[0]) == 26
    assert with_words.classes == tuple(range(21))


def test_another_data_set_is_refused_with_the_first_difference():
    with pytest.raises(DatasetError, match="found 20 classes; expected 59 classes"):
        check_classes(find_protocol("context59"), packaged_vocabulary("voc20"))
    swapped = list(packaged_vocabulary("voc20").names)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    with pytest.raises(DatasetError, match="class 'bird'; expected 'bicycle' in its place"):
        check_classes(find_protocol("voc20"), Vocabulary(names=tuple(swapped)))
    with pytest.raises(DatasetError, match="20 classes without background"):
        check_classes(find_protocol("voc21"), packaged_vocabulary("voc20"))


def test_spelling_of_spaces_does_not_make_another_class():
    names = [{"tvmonitor": "TV monitor"}.get(name, name) for name in packaged_vocabulary("voc20").names]
    check_classes(find_protocol("voc20"), Vocabulary(names=tuple(names)))


def followed(name, settings, prompted, classes):
    return effective_protocol(find_protocol(name), settings, prompted, classes).name


def test_a_run_that_differs_carries_it_in_its_name():
    protocol, voc21 = find_protocol("groupvit-voc"), packaged_vocabulary("voc21")
    prompted = names_for(protocol, voc21).vocabulary
    exact = {**protocol.inference, "memory_mb": 64}
    none_applied = "groupvit-voc+not_applied=image-top5,group-threshold,group-pixels"
    assert followed("groupvit-voc", exact, prompted, voc21) == none_applied
    other = followed("groupvit-voc", {**exact, "short_side": 336, "window": None}, voc21, voc21)
    assert other.startswith("groupvit-voc+names=official+short_side=336+window=none+not_applied=")
    assert followed("voc21", exact, voc21, voc21) == "voc21"
    assert followed("voc21", exact, prompted, voc21) == "voc21+names=groupvit"
    mine = replace(voc21, names=("background", *(f"my {name}" for name in voc21.names[1:])))
    assert followed("voc21", exact, mine, voc21) == "voc21+names=others"


def test_only_the_steps_that_the_method_did_not_apply_enter_the_name():
    protocol, voc21 = find_protocol("simseg-voc"), packaged_vocabulary("voc21")
    prompted = names_for(protocol, voc21).vocabulary
    assert protocol.inference["keep_aspect"] is False
    assert protocol.inference["short_side"] == 288
    assert protocol.inference["refine"] == "crf"
    run = {**protocol.inference, "applies": ["simseg-masks", "simseg-candidates-10", "more"]}
    assert followed("simseg-voc", run, prompted, voc21) == "simseg-voc"
    run["applies"] = ["simseg-masks", "simseg-candidates-30"]
    assert followed("simseg-voc", run, prompted, voc21) == "simseg-voc+not_applied=simseg-candidates-10"


def test_a_setting_that_was_not_recorded_is_not_taken_as_followed():
    protocol, voc21 = find_protocol("detectron2-voc20"), packaged_vocabulary("voc20")
    prompted = names_for(protocol, voc21).vocabulary
    old = {name: value for name, value in protocol.inference.items() if name != "keep_aspect"}
    assert followed(protocol.name, old, prompted, voc21) == "detectron2-voc20+keep_aspect=unfixed"
    assert followed(protocol.name, old | {"aspect": "keep"}, prompted, voc21) == "detectron2-voc20"
    assert (
        followed(protocol.name, old | {"aspect": "squash"}, prompted, voc21)
        == "detectron2-voc20+keep_aspect=False"
    )


def test_synonyms_of_the_data_set_are_its_own_names():
    classes = Vocabulary(names=("cat", "dog"), synonyms=(("kitty",), ()))
    assert followed("mmseg", {}, classes, classes) == "mmseg"


def test_names_that_others_use_are_asked_for_under_every_spelling_of_the_official_ones():
    spelt = {"pottedplant": "potted plant", "tvmonitor": "tv/monitor", "diningtable": "dining table"}
    official = packaged_vocabulary("voc21")
    ours = replace(official, names=tuple(spelt.get(name, name) for name in official.names))
    protocol = find_protocol("groupvit-voc")
    asked = names_for(protocol, ours).vocabulary
    assert asked.names == names_for(protocol, official).vocabulary.names
    assert {"plant", "monitor", "table"} <= set(asked.names)
    assert effective_protocol(protocol, {}, asked, ours).names == protocol.names


@pytest.mark.parametrize("who", ["groupvit", "cocu"])
@pytest.mark.parametrize(
    ("data", "classes", "threshold", "image"),
    [
        ("voc", 21, 0.95, (448, 448, 224)),
        ("context", 60, 0.35, (448, 448, 224)),
        ("coco", 81, 0.95, (448, 448, 224)),
        ("imagenet-s50", 51, 0.95, (448, 448, 224)),
        ("imagenet-s300", 301, 0.75, (448, 448, 224)),
        ("cityscapes", 19, None, (1024, 448, 224)),
        ("ade", 150, None, (512, 224, 112)),
        ("stuff", 171, None, (512, 224, 112)),
    ],
)
def test_the_eight_sets_of_cocu_and_their_thresholds(who, data, classes, threshold, image):
    protocol = PROTOCOLS[f"{who}-{data}"]
    fixed = protocol.inference
    assert protocol.num_classes == classes
    assert fixed.get("threshold") == threshold
    assert fixed["background"] == ("none" if threshold is None else "threshold")
    assert (fixed["short_side"], fixed["window"], fixed["window_stride"]) == image
    assert (fixed["blend"], fixed["prompts"], fixed["max_long_side"]) == ("mean", "single", 2048)
    assert {"image-top5", "group-pixels"} <= set(protocol.steps)
    assert ("group-threshold" in protocol.steps) == (threshold is not None)
