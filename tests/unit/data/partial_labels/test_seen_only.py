import numpy as np
import pytest

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, VocabularyError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.partial_labels.seen_only import SeenOnly
from partial_label_toys import CAT, VOCABULARY, ToyDataset, image_of, toy_samples


def view_of(*samples, vocabulary=VOCABULARY, **settings) -> SeenOnly:
    return SeenOnly(ToyDataset(samples, vocabulary), **settings)


def test_unseen_classes_are_void_and_seen_ones_counted_from_zero():
    apart = Vocabulary(names=("cat", "wall", "dog", "floor"), seen=frozenset({1, 3}))
    view = view_of(image_of("a", 0, 1, 2, 3), vocabulary=apart)
    assert view.names == ("wall", "floor")
    assert np.unique(view[0].label_map).tolist() == [0, 1, IGNORE_INDEX]
    assert (view[0].label_map[0, 8:16] == 0).all()
    assert (view[0].label_map[0, 24:] == 1).all()


def test_tags_and_captions_stay_behind():
    sample = view_of(image_of("a", 0, CAT, tags=frozenset({CAT})))[0]
    assert sample.tags is None
    assert sample.captions == ()


def test_images_without_masks_stay():
    assert view_of(image_of("g", 0, CAT, masks=False))[0].label_map is None


def test_no_masks_and_all_masks():
    nothing = view_of(image_of("a", 0, CAT), masks="none")
    assert nothing.names == ()
    assert nothing[0].label_map is None
    everything = view_of(image_of("a", 0, CAT), masks="all")
    assert everything.names == VOCABULARY.names
    assert CAT in everything[0].label_map


def test_masks_of_unseen_classes_can_be_refused():
    view = view_of(image_of("a", 0, CAT), unseen_masks="refuse")
    with pytest.raises(DatasetError, match=r"masks of 'cat', which seen\.txt does not list"):
        view[0]
    assert view_of(image_of("a", 0, 1), unseen_masks="refuse")[0].label_map is not None


def test_no_division_and_no_seen_class_are_refused():
    undivided = Vocabulary(names=VOCABULARY.names)
    with pytest.raises(DatasetError, match=r"no division of the classes.*data\.masks = none"):
        view_of(*toy_samples(), vocabulary=undivided)
    with pytest.raises(DatasetError, match="no seen class"):
        view_of(*toy_samples(), vocabulary=Vocabulary(names=VOCABULARY.names, seen=frozenset()))
    assert len(view_of(*toy_samples(), vocabulary=undivided, masks="none")) == 8


def test_the_truth_leaves_only_where_it_was_asked_for():
    with pytest.raises(AssertionError, match="no truth"):
        view_of(image_of("a", 0, CAT)).read_truth(0)
    sample, truth = view_of(image_of("a", 0, CAT), gives_truth=True).read_truth(0)
    assert CAT in truth
    assert CAT not in sample.label_map


@pytest.mark.parametrize("unseen", ["Wall", "WALL ", "wall"])
def test_a_name_cannot_be_seen_and_unseen(unseen):
    with pytest.raises(VocabularyError, match="already class 0"):
        Vocabulary(names=("wall", unseen), seen=frozenset({0}))


def test_the_fingerprint_knows_what_is_seen():
    first, again = view_of(*toy_samples()), view_of(*toy_samples())
    assert first.fingerprint() == again.fingerprint()
    assert view_of(*toy_samples(), masks="none").fingerprint() != first.fingerprint()
