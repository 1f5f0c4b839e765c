from dataclasses import fields, replace
from typing import get_args

import pytest

from lexiseg.core.errors import DatasetError, InputError, UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import packaged_vocabulary
from lexiseg.data.datasets import DATASETS
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.prompts import PROMPT_SETS
from lexiseg.scoring.protocol import (
    INFERENCE_FIELDS,
    Protocol,
    as_run,
    check_classes,
    find_protocol,
    names_for,
)
from lexiseg.scoring.published import PROTOCOLS

#: Another value for every field that decides something.
OTHER = {
    "classes": "context60", "num_classes": 7, "names": "san", "background_names": ("stuff",), "short_side": 1,
    "max_long_side": 1, "window": 1, "window_stride": 1, "blend": "tent", "prompts": "bare", "synonyms": "mean",
    "background": "none", "threshold": 0.123, "refine": "guided", "beyond": ("magic",), "true_background": "as_labelled",
    "averaging": "occurs", "boundary": 0.07, "unseen": ("cat",), "absent_unseen": "undefined", "imagenet_s": True,
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_complete_and_consistent(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.source
    assert bool(protocol.datasets) == (protocol.benchmark != "any")
    assert set(protocol.datasets) <= set(DATASETS)
    InferenceSettings(**protocol.inference_changes())
    assert protocol.prompts is None or protocol.prompts in PROMPT_SETS
    if protocol.classes is not None:
        names = packaged_vocabulary(protocol.classes).names
        assert len(names) + (protocol.true_background == "class") == protocol.num_classes
        assert set(protocol.unseen) <= set(names)
    if protocol.threshold is not None:
        assert protocol.background == "threshold"


def test_changing_any_choice_changes_the_name_and_changing_it_back_restores_it():
    protocol = find_protocol("groupvit-voc")
    deciding = {item.name for item in fields(Protocol)} - {
        "name",
        "source",
        "benchmark",
        "datasets",
        "uncertain",
        "original",
    }
    assert set(OTHER) == deciding
    for field, value in OTHER.items():
        changed = replace(protocol, **{field: value})
        assert changed.name.startswith("groupvit-voc+")
        assert f"{field}=" in changed.name
        assert replace(changed, **{field: getattr(protocol, field)}).name == "groupvit-voc"


def test_changes_add_up_in_the_name():
    changed = replace(replace(find_protocol("groupvit-voc"), threshold=0.9), short_side=336)
    assert changed.name == "groupvit-voc+short_side=336+threshold=0.9"
    assert replace(changed, name="groupvit-voc").name == changed.name


def test_a_known_name_cannot_be_given_to_other_choices():
    with pytest.raises(InputError, match="making the protocol voc20: found a protocol of that name"):
        Protocol(name="voc20", source="me", averaging="all")
    with pytest.raises(InputError, match="making the protocol voc21"):
        replace(find_protocol("voc20"), name="voc21", averaging="all")


def test_printing_shows_every_choice():
    text = str(find_protocol("groupvit-voc"))
    for item in fields(Protocol):
        assert item.name == "original" or item.name in text or item.name == "name"
    for value in ("groupvit-voc", "448", "224", "0.95", "single", "candidate filter", "occurs_or_predicted"):
        assert value in text


def test_inference_fields_are_those_of_the_settings():
    assert set(INFERENCE_FIELDS) <= {item.name for item in fields(InferenceSettings)}
    assert get_args(Protocol.__annotations__["true_background"]) == ("ignored", "class", "as_labelled")


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


def test_a_run_that_differs_carries_it_in_its_name():
    protocol, voc21 = find_protocol("groupvit-voc"), packaged_vocabulary("voc21")
    asked = names_for(protocol, voc21).vocabulary
    exact = {**protocol.inference_changes(), "memory_mb": 64}
    assert as_run(protocol, exact, asked, voc21).name == "groupvit-voc+beyond=none"
    other = as_run(protocol, {**exact, "short_side": 336, "window": None}, voc21, voc21)
    assert other.name == "groupvit-voc+names=official+short_side=336+window=0+beyond=none"
    assert as_run(find_protocol("voc21"), exact, voc21, voc21).name == "voc21"
    assert as_run(find_protocol("voc21"), exact, asked, voc21).name == "voc21+names=groupvit"
    mine = replace(voc21, names=("background", *(f"my {name}" for name in voc21.names[1:])))
    assert as_run(find_protocol("voc21"), exact, mine, voc21).name == "voc21+names=others"


def test_synonyms_of_the_data_set_are_its_own_names():
    classes = Vocabulary(names=("cat", "dog"), synonyms=(("kitty",), ()))
    assert as_run(find_protocol("mmseg"), {}, classes, classes).name == "mmseg"


def test_names_that_others_use_are_asked_for_under_every_spelling_of_the_official_ones():
    spelt = {"pottedplant": "potted plant", "tvmonitor": "tv/monitor", "diningtable": "dining table"}
    official = packaged_vocabulary("voc21")
    ours = replace(official, names=tuple(spelt.get(name, name) for name in official.names))
    protocol = find_protocol("groupvit-voc")
    asked = names_for(protocol, ours).vocabulary
    assert asked.names == names_for(protocol, official).vocabulary.names
    assert {"plant", "monitor", "table"} <= set(asked.names)
    assert as_run(protocol, {}, asked, ours).names == protocol.names
