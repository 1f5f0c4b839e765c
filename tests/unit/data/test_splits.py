"""Published divisions into seen and unseen classes: sizes, nesting, names."""

import re
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest

from lexiseg.core.errors import DatasetError, UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.splits import hide_classes, load_split, split_names

SIZES = {
    "zero-shot-voc": (15, 5),
    "zero-shot-voc-unseen2": (18, 2),
    "zero-shot-voc-unseen4": (16, 4),
    "zero-shot-voc-unseen6": (14, 6),
    "zero-shot-voc-unseen8": (12, 8),
    "zero-shot-voc-unseen10": (10, 10),
    "zero-shot-context": (50, 10),
    "zero-shot-coco-stuff": (156, 15),
    "weak-shot-coco-stuff10k-s1": (128, 43),
    "weak-shot-coco-stuff10k-s2": (128, 43),
    "weak-shot-coco-stuff10k-s3": (128, 43),
    "weak-shot-coco-stuff10k-s4": (128, 43),
    "weak-shot-coco-stuff10k-s5": (120, 51),
    "weak-shot-coco-stuff10k-s6": (112, 59),
    "weak-shot-coco-stuff10k-s7": (103, 68),
    "weak-shot-coco-stuff10k-s8": (95, 76),
    "weak-shot-coco-stuff10k-s9": (86, 85),
    "weak-shot-ade20k-s1": (112, 38),
    "weak-shot-ade20k-s2": (112, 38),
    "weak-shot-ade20k-s3": (112, 38),
    "weak-shot-ade20k-s4": (112, 38),
    "weak-shot-voc-fold0": (16, 5),
    "weak-shot-voc-fold1": (16, 5),
    "weak-shot-voc-fold2": (16, 5),
    "weak-shot-voc-fold3": (16, 5),
}


def test_all_splits_are_listed():
    assert set(split_names()) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_t13_sizes_and_union(name):
    split = load_split(name)
    assert (len(split.seen), len(split.unseen)) == SIZES[name]
    assert not split.seen & split.unseen
    assert split.seen | split.unseen == set(range(len(split.names)))
    assert len(split.order) == len(split.unseen)
    assert split.source


@pytest.mark.parametrize("name", SIZES)
def test_names_in_the_file_are_the_names_of_the_labels(name):
    text = files("lexiseg.data").joinpath("class_splits", f"{name}.txt").read_text()
    names = load_split(name).names
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    assert [names[int(label)] for label, _ in rows] == [given for _, given in rows]


def test_t13_coco_splits_s4_to_s9_are_prefixes_of_one_order():
    orders = [load_split(f"weak-shot-coco-stuff10k-s{k}").order for k in range(4, 10)]
    for shorter, longer in pairwise(orders):
        assert longer[: len(shorter)] == shorter
        assert len(longer) > len(shorter)


def test_zero_shot_sets_of_voc_grow():
    orders = [load_split(f"zero-shot-voc-unseen{k}").order for k in (2, 4, 6, 8, 10)]
    for shorter, longer in pairwise(orders):
        assert longer[: len(shorter)] == shorter


def test_garbled_coco_list_is_mended():
    split = load_split("zero-shot-coco-stuff")
    names = {split.names[label] for label in split.unseen}
    assert {"skateboard", "carrot", "grass", "playingfield", "wall-concrete"} <= names
    assert sorted(split.unseen) == [19, 23, 28, 29, 36, 51, 76, 88, 94, 112, 133, 136, 137, 157, 160]


def test_voc_seen_are_the_first_fifteen():
    assert load_split("zero-shot-voc").seen == set(range(15))


def test_folds_of_voc_share_the_classes_and_keep_background_seen():
    folds = [load_split(f"weak-shot-voc-fold{k}").unseen for k in range(4)]
    assert frozenset.union(*folds) == set(range(1, 21))
    assert sum(map(len, folds)) == 20


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("weak-shot-coco-stuff10k-s1", 3464),
        ("weak-shot-coco-stuff10k-s2", 3612),
        ("weak-shot-coco-stuff10k-s3", 3030),
        ("weak-shot-coco-stuff10k-s9", 7157),
        ("weak-shot-ade20k-s1", 2708),
        ("weak-shot-ade20k-s2", 3020),
        ("weak-shot-ade20k-s3", 3053),
        ("weak-shot-ade20k-s4", 3002),
    ],
)
def test_sum_of_the_labels_is_that_of_the_published_list(name, total):
    assert sum(load_split(name).unseen) == total


def test_split_marks_a_vocabulary_and_refuses_another():
    split = load_split("zero-shot-voc")
    assert split.apply(Vocabulary(names=split.names)).seen == split.seen
    with pytest.raises(
        DatasetError, match=re.escape("'plane' for 'aeroplane'; expected the 20 classes of voc20")
    ):
        split.apply(Vocabulary(names=("plane", *split.names[1:])))


def test_hidden_classes_become_void():
    labels = np.array([[0, 3, 7, 65535]], np.uint16)
    assert hide_classes(labels, frozenset({3, 7})).tolist() == [[0, 65535, 65535, 65535]]


def test_unknown_split_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Nearest: zero-shot-voc"):
        load_split("zero-shot-vco")
