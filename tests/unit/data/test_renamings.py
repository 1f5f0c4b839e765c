import pytest

from lexiseg.core.errors import UnknownNameError
from lexiseg.data.packaged_names import packaged_vocabulary
from lexiseg.data.renamings import _renamings, rename


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


def test_further_names_become_synonyms():
    renamed = rename(packaged_vocabulary("voc20"), "sclip", "voc20")
    assert renamed.all_names()[19] == ("television monitor", "tv monitor", "monitor", "television", "screen")


def test_nobodys_names_are_refused():
    with pytest.raises(UnknownNameError, match="no naming of that name"):
        rename(packaged_vocabulary("voc20"), "nobody", "voc20")
