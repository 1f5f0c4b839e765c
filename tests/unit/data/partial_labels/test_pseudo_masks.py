from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from lexiseg.data.partial_labels.pseudo_masks import PseudoMaskedDataset, pseudo_map, write_pseudo_mask
from partial_label_toys import BIRD, CAT, DOG, NAMES, ToyDataset, image_of


def row(*labels: int) -> np.ndarray:
    return np.array([labels], np.uint16)


def test_masks_win_and_only_tagged_classes_are_kept():
    # T11
    void, base1, base2, novel1, novel2 = IGNORE_INDEX, 0, 1, 3, 4
    prediction, known = row(novel1, novel2, base1, novel1), row(void, void, base1, base2)
    assert pseudo_map(prediction, frozenset({novel1}), known).tolist() == [[novel1, void, base1, base2]]


def test_without_masks_every_tagged_class_is_kept():
    assert pseudo_map(row(0, 1, 3), frozenset({0, 3}), None).tolist() == [[0, IGNORE_INDEX, 3]]


def test_pseudo_masks_are_read_back_as_masks_of_seen_classes(tmp_path: Path):
    samples = [image_of("a", 0, CAT, 1, DOG), image_of("b", 0, BIRD)]
    masked_labels = MaskedLabels(ToyDataset(samples))
    before = PseudoMaskedDataset(masked_labels, tmp_path).fingerprint()
    filled = np.where(masked_labels[0].label_map == IGNORE_INDEX, np.uint16(CAT), masked_labels[0].label_map)
    write_pseudo_mask(tmp_path, "a", filled)
    pseudo = PseudoMaskedDataset(masked_labels, tmp_path)
    assert pseudo.vocabulary.seen == frozenset(range(len(NAMES)))
    np.testing.assert_array_equal(pseudo[0].label_map, filled)
    assert pseudo[0].tags is None
    # without a file: its own masks, and still nothing of what is hidden
    np.testing.assert_array_equal(pseudo[1].label_map, masked_labels[1].label_map)
    assert BIRD not in pseudo[1].label_map
    assert pseudo.fingerprint() != before
    assert not list(tmp_path.glob(".*"))


def test_a_pseudo_mask_of_another_size_is_named(tmp_path: Path):
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a.png")
    pseudo = PseudoMaskedDataset(MaskedLabels(ToyDataset([image_of("a", 0, CAT)])), tmp_path)
    with pytest.raises(DatasetError, match=r"a\.png: found a label map of 4×4"):
        pseudo[0]
