"""What masks and tags must not say; every error names the file."""

from pathlib import Path

import numpy as np
import pytest

from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.partial_labels.masked_labels import ImageLabels, MaskedLabels, image_labels
from partial_label_toys import BIRD, CAT, DOG, VOCABULARY, ToyDataset, image_of


def known(sample: Sample, unseen_masks: str = "hide") -> ImageLabels:
    return image_labels(sample, VOCABULARY, unseen_masks=unseen_masks)


def test_tags_are_derived_from_masks_where_there_are_none():
    found = known(image_of("a", 0, CAT, DOG))
    assert found == ImageLabels(masked=True, with_mask=frozenset({0}), tags=frozenset({CAT, DOG}))


def test_given_tags_are_taken_even_where_no_mask_shows_them():
    found = known(image_of("a", 0, 1, tags=frozenset({BIRD})))
    assert found.tags == {BIRD}


def test_of_an_image_without_masks_every_tag_counts():
    found = known(image_of("a", 0, CAT, tags=frozenset({0, CAT}), masks=False))
    assert found == ImageLabels(masked=False, with_mask=frozenset(), tags=frozenset({0, CAT}))


def test_a_label_map_that_is_void_everywhere_is_no_mask():
    empty = image_of("a", 0, tags=frozenset({0, CAT}), void=32)
    assert not known(empty).masked
    with pytest.raises(DatasetError, match=r"a\.png: found a label map that is void everywhere, and no tags"):
        known(image_of("a", 0, void=32))


def test_a_tag_that_is_no_class_is_named_with_its_file():
    with pytest.raises(DatasetError, match=r"a\.png: found tags for the classes \[6\]"):
        known(image_of("a", 0, tags=frozenset({6})))


def test_an_image_with_neither_mask_nor_tag_is_named():
    for tags in (None, frozenset()):
        with pytest.raises(DatasetError, match=r"a\.png: found neither masks nor tags"):
            known(image_of("a", 0, tags=tags, masks=False))


def test_a_mask_of_a_class_that_should_have_tags_only_is_refused_on_request():
    sample = image_of("a", 0, CAT, tags=frozenset({CAT}))
    assert known(sample).tags == {CAT}
    with pytest.raises(
        DatasetError, match=r"a\.png: found masks of 'cat', which seen.txt does not list and the"
    ):
        known(sample, "refuse")


def test_a_tag_for_a_class_with_masks_that_has_none_here_is_a_contradiction():
    with pytest.raises(
        DatasetError, match=r"a\.png: found a tag for 'cup', which has masks elsewhere, without"
    ):
        known(image_of("a", 0, 1, tags=frozenset({0, 1, 2})))


def test_a_mask_that_the_tags_leave_out_is_a_contradiction():
    with pytest.raises(DatasetError, match=r"a\.png: found a mask of 'floor', which the tags leave out"):
        known(image_of("a", 0, 1, tags=frozenset({0, CAT})))
    with pytest.raises(DatasetError, match=r"a\.png: found a mask of 'dog', which the tags leave out"):
        known(image_of("a", 0, CAT, DOG, tags=frozenset({CAT})))


def test_tags_of_unseen_classes_alone_contradict_no_mask():
    assert known(image_of("a", 0, 1, CAT, tags=frozenset({CAT}))).tags == {CAT}


def test_a_background_may_be_left_out_of_the_tags():
    vocabulary = Vocabulary(names=("background", "cup", "cat"), seen=frozenset({0, 1}))
    sample = image_of("a", 0, 1, tags=frozenset({1}))
    assert image_labels(sample, vocabulary, unseen_masks="hide").with_mask == {0, 1}


def test_a_data_set_without_a_division_is_refused():
    dataset = ToyDataset([image_of("a", 0)], Vocabulary(names=VOCABULARY.names))
    with pytest.raises(DatasetError, match="no division of the classes"):
        MaskedLabels(dataset)


def test_masked_labels_show_no_pixel_of_an_unseen_class():
    masked_labels = MaskedLabels(ToyDataset([image_of("a", 0, CAT, 1, DOG)]))
    label_map = masked_labels[0].label_map
    assert label_map is not None
    assert set(np.unique(label_map)) == {0, 1, IGNORE_INDEX}
    assert masked_labels[0].tags == {CAT, DOG}
    assert masked_labels[0].source == Path("a.png")


def test_masked_labels_give_the_truth_only_when_asked_to():
    dataset = ToyDataset([image_of("a", 0, CAT)])
    with pytest.raises(AssertionError, match="gives_truth"):
        MaskedLabels(dataset).read_truth(0)
    sample, truth = MaskedLabels(dataset, gives_truth=True).read_truth(0)
    assert CAT in truth
    assert CAT not in sample.label_map
