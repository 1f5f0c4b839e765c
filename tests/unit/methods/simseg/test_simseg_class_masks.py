import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.core.errors import InputError
from lexiseg.methods.simseg.class_masks import (
    close_mask,
    paste_masks,
    present_classes,
    resize_nearest,
    scale_map,
    upsample_nearest,
)
from lexiseg.methods.simseg.settings import MaskSettings, PoolingSettings
from lexiseg.ops.resize import RunningBest

DEFAULT = MaskSettings()


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_worked_threshold_lets_two_classes_through():
    found = present_classes(scores(0.30, 0.24, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10), None, DEFAULT)
    assert found == [0, 1]


def test_the_person_beside_the_horse_is_lost():
    horse_and_person = scores(0.15, 0.25, 0.12, 0.11, 0.10, 0.10, 0.09, 0.09, 0.08, 0.08)
    assert present_classes(horse_and_person, None, DEFAULT) == [1]


def test_only_the_best_scores_are_compared():
    few, many = (np.concatenate([scores(0.3, 0.2), np.full(count, 0.0, np.float32)]) for count in (8, 60))
    assert present_classes(few, None, DEFAULT) == present_classes(many, None, DEFAULT) == [0, 1]
    assert present_classes(many, None, MaskSettings(threshold_top_k=3)) == []


def test_five_that_tie_above_the_others_are_all_lost():
    assert present_classes(scores(*[0.2] * 5, *[0.1] * 5), None, DEFAULT) == []


@given(st.lists(st.floats(-1, 1, width=32), min_size=10, max_size=60), st.sampled_from([(10, 4), (30, 14)]))
@settings(max_examples=60, deadline=None)
def test_no_more_survive_than_the_bound(values, compared_and_most):
    compared, most = compared_and_most
    if len(values) < compared or max(values) == min(values):
        return
    row = scores(*sorted(values, reverse=True)[:compared])
    if row.max() == row.min():
        return
    found = present_classes(row, None, MaskSettings(threshold_top_k=compared, max_classes=compared))
    assert len(found) <= most


def test_where_all_tie_nothing_is_refused():
    assert present_classes(scores(*[0.1] * 10), None, DEFAULT) == [0, 1, 2, 3, 4]


def test_background_takes_a_place_and_a_share_in_the_threshold_and_is_no_class():
    values = scores(0.30, 0.24, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10)
    assert present_classes(values, 0, DEFAULT) == [1]
    assert present_classes(values, 0, MaskSettings(max_classes=1)) == []
    values[0] = 0.6
    assert present_classes(values, 0, DEFAULT) == []
    assert present_classes(values[1:], None, DEFAULT) == [0]


@pytest.mark.parametrize("values", [(0.2,), (0.3, 0.1)])
def test_one_or_two_words_have_no_threshold_because_none_could_pass_it(values):
    assert present_classes(scores(*values), None, DEFAULT) == list(range(len(values)))


def test_maps_are_stretched_and_a_constant_one_is_zero():
    maps = np.array([[[1.0, 3.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]], np.float32)
    assert scale_map(maps).tolist() == [[[0, 0.5], [0.25, 1]], [[0, 0], [0, 0]]]


def test_cells_are_repeated():
    assert upsample_nearest(np.array([[[1, 2]]]), 2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]


def test_an_isolated_pixel_comes_back_unchanged():
    mask = np.zeros((30, 30), bool)
    mask[14, 15] = True
    np.testing.assert_array_equal(close_mask(mask, DEFAULT), mask)


@pytest.mark.parametrize(("gap", "closed"), [(1, True), (6, True), (7, False)])
def test_a_gap_of_six_is_closed_and_one_of_seven_is_not(gap, closed):
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:20] = mask[10:30, 20 + gap : 40] = True
    assert close_mask(mask, DEFAULT)[15:25, 20 : 20 + gap].all() == closed


def test_a_solid_block_stays():
    mask = np.zeros((40, 40), bool)
    mask[10:25, 12:30] = True
    np.testing.assert_array_equal(close_mask(mask, DEFAULT), mask)


def test_a_block_at_the_border_stays():
    mask = np.zeros((20, 20), bool)
    mask[:8, :9] = True
    np.testing.assert_array_equal(close_mask(mask, DEFAULT), mask)


def test_five_dilations_and_three_erosions_leave_a_pixel_thirteen_wide():
    mask = np.zeros((50, 50), bool)
    mask[25, 25] = True
    assert close_mask(mask, MaskSettings(dilations=5, erosions=3)).sum() == 13**2


def test_an_overlap_goes_to_the_larger_score():
    masks = np.zeros((2, 2, 4), bool)
    masks[0, :, :3] = masks[1, :, 1:] = True
    for order in ([0, 1], [1, 0]):
        into = RunningBest(labels=np.zeros((2, 4), np.uint16), best=np.zeros((2, 4), np.float32))
        paste_masks(masks[order], [[3, 5][k] for k in order], [[0.3, 0.2][k] for k in order], into)
        assert into.labels[0].tolist() == [3, 3, 3, 5]
        assert into.best[0].tolist() == pytest.approx([0.3, 0.3, 0.3, 0.2])


def test_masks_are_resized_by_the_nearest_centre():
    mask = np.array([[True, False], [False, True]])
    assert resize_nearest(mask, (4, 2)).tolist() == [[True, False]] * 2 + [[False, True]] * 2
    large = np.random.default_rng(0).random((9, 11)) < 0.5
    np.testing.assert_array_equal(resize_nearest(large, (9, 11)), large)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"closing": 6}, r"closing = 6; expected an odd number of pixels"),
        ({"threshold_top_k": 1}, r"threshold_top_k = 1; expected a whole number from 2 to"),
        ({"erosions": -1}, r"erosions = -1; expected a whole number from 0 to"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        MaskSettings(**changes)


def test_no_responses_at_all_are_refused():
    with pytest.raises(InputError, match="text_topk = 0; expected a whole number above 0"):
        PoolingSettings(text_topk=0)
