import numpy as np
import pytest
from jaxtyping import TypeCheckError

from lexiseg.core.masks import Masks


def test_areas_boxes_and_coverage_of_overlapping_masks():
    masks = np.zeros((3, 4, 6), bool)
    masks[0, 1:3, 2:5] = True
    masks[1, 2, 4] = True
    found = Masks(masks=masks)
    assert len(found) == 3
    assert found.areas.tolist() == [6, 1, 0]
    assert found.boxes.tolist() == [[2, 1, 5, 3], [4, 2, 5, 3], [0, 0, 0, 0]]
    assert found.coverage == 6 / 24


def test_no_masks_are_an_answer():
    found = Masks(masks=np.zeros((0, 4, 6), bool))
    assert len(found) == 0
    assert found.areas.shape == (0,)
    assert found.boxes.shape == (0, 4)
    assert found.coverage == 0.0


def test_scores_are_one_a_mask():
    with pytest.raises((TypeCheckError, AssertionError)):
        Masks(masks=np.zeros((2, 4, 6), bool), scores=np.zeros(3, np.float32))
