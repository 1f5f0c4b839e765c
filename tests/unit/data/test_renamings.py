import dataclasses

import pytest

from lexiseg.core.errors import UnknownNameError
from lexiseg.data.class_lists import (
    _renamings,
    namings,
    packaged_names,
    packaged_vocabulary,
    rename,
    spelling_key,
)


def test_every_renamed_class_is_in_its_list():
    for (who, class_list), used in _renamings().items():
        assert set(used) <= set(packaged_vocabulary(class_list).names), who


def test_renaming_keeps_labels_and_other_names():
    official = packaged_vocabulary("voc20")
    renamed = rename(official, "groupvit", "voc20")
    assert len(renamed) == 20
    assert [(a, b) for a, b in zip(official.names, renamed.names, strict=True) if a != b] == [
        ("diningtable", "table"), ("pottedplant", "plant"), ("tvmonitor", "monitor"),
    ]  # fmt: skip


def test_other_spellings_of_a_class_are_renamed_alike():
    official = packaged_vocabulary("voc20")
    spelt = {"pottedplant": "Potted plant", "tvmonitor": "TV-monitor", "diningtable": "dining table"}
    ours = dataclasses.replace(official, names=tuple(spelt.get(name, name) for name in official.names))
    for who in namings()[1:]:
        theirs = rename(official, who, "voc20")
        renamed = rename(ours, who, "voc20")
        differing = {a for a, b in zip(renamed.all_names(), theirs.all_names(), strict=True) if a != b}
        assert differing <= {(name,) for name in spelt.values()}, who  # those that nobody renames
    assert rename(ours, "groupvit", "voc20").names == rename(official, "groupvit", "voc20").names


@pytest.mark.parametrize("class_list", packaged_names())
def test_no_two_classes_of_a_list_differ_in_spelling_alone(class_list):
    names = packaged_vocabulary(class_list).names
    assert len(set(map(spelling_key, names))) == len(names)


def test_further_names_become_synonyms():
    renamed = rename(packaged_vocabulary("voc20"), "sclip", "voc20")
    assert renamed.all_names()[19] == ("television monitor", "tv monitor", "monitor", "television", "screen")


def test_nobodys_names_are_refused():
    with pytest.raises(UnknownNameError, match="no naming of that name"):
        rename(packaged_vocabulary("voc20"), "nobody", "voc20")
