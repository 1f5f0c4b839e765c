"""Numbers worked out by hand from the formulas: single head, scale 1/√2."""

import pytest
import torch
from torch import Tensor

from lexiseg.ops.outlier_tokens import find_outliers, outlier_scores, repair_tokens
from lexiseg.ops.self_attention import RULES, neighbour_attention, neighbourhood, softmax_or_itself

SCALE = 2**-0.5


def heads(rows: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(rows)[None, None]


QUERY, KEY = heads([(1.0, 0), (0, 1), (1, 1)]), heads([(0.0, 1), (1, 0), (1, -1)])
VALUE = heads([(1.0, 0), (0, 2), (4, 4)])

EXPECTED = {
    "sclip": [(3.141653, 3.128108), (3.604448, 4.813345), (4.816475, 5.601801)],
    "clearclip": [(2.005560, 2.0), (1.802224, 2.406673), (2.262214, 2.510470)],
    "kk": [(1.136092, 1.128108), (1.802224, 2.406673), (2.554260, 3.091331)],
}


@pytest.mark.parametrize("head", EXPECTED)
def test_rules_give_the_numbers_worked_out_by_hand(head):
    found = RULES[head](QUERY, KEY, VALUE, scale=SCALE)
    torch.testing.assert_close(found, heads(EXPECTED[head]), atol=1e-5, rtol=0)


def test_the_neighbourhood_gives_the_numbers_worked_out_by_hand():
    square = neighbourhood((2, 2), 1.0)
    torch.testing.assert_close(square[0], torch.tensor([1, 0.606531, 0.606531, 0.367879]), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        neighbourhood((1, 3), 5.0)[0], torch.tensor([1, 0.980199, 0.923116]), atol=1e-5, rtol=0
    )
    key = heads([(1.0, 1), (1, 0), (0, 1), (1, 1), (0, 0)])
    value = heads([(9.0, 9), (1, 0), (0, 1), (2, 2), (3, -1)])
    expected = [(3.784905, 3.483762), (2.444332, 1.793856), (2.224258, 1.965594), (2.885159, 2.543415)]
    expected.append((2.521511, 1.334368))
    found = neighbour_attention(key, key, value, scale=SCALE, grid=(2, 2), sigma=1.0)
    torch.testing.assert_close(found, heads(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("head", "total"), [("sclip", 2), ("clearclip", 1), ("kk", 1), ("naclip", 1)])
def test_weights_sum_to_two_for_sclip_and_to_one_for_all_others(head, total):
    more = {"grid": (1, 2)} if head == "naclip" else {}
    found = RULES[head](QUERY, KEY, torch.ones_like(VALUE), scale=SCALE, **more)
    torch.testing.assert_close(found, torch.full_like(VALUE, total))


def test_a_narrow_neighbourhood_is_the_patch_and_an_endless_one_is_all_patches_alike():
    key, value = torch.randn(1, 2, 7, 4), torch.randn(1, 2, 7, 4)
    logits = SCALE * key @ key.transpose(2, 3)
    for sigma, bump in ((1e-3, torch.eye(6)), (1e6, torch.ones(6, 6))):
        raised = logits.clone()
        raised[:, :, 1:, 1:] += bump
        found = neighbour_attention(key, key, value, scale=SCALE, grid=(2, 3), sigma=sigma)
        torch.testing.assert_close(found, raised.softmax(dim=3) @ value)


def test_a_row_that_may_attend_to_nothing_keeps_itself():
    found = softmax_or_itself(torch.randn(2, 3, 3), torch.zeros(2, 3, 3, dtype=torch.bool))
    torch.testing.assert_close(found, torch.eye(3).expand(2, 3, 3))


def test_outlier_scores_are_those_worked_out_by_hand_at_any_scale():
    line = torch.tensor([0.0, 1, 2, 3, 10])[None, :, None]
    expected = torch.tensor([[4, 0.625, 0.625, 4, 40]])
    for scale in (1.0, 1e-3, 1e4):
        torch.testing.assert_close(outlier_scores(scale * line, num_neighbours=2), expected)
    assert find_outliers(expected).tolist() == [[False, False, False, False, True]]


@pytest.mark.parametrize("num_tokens", [1, 2, 5])
def test_equal_tokens_and_fewer_than_neighbours_give_finite_scores(num_tokens):
    for tokens in (torch.ones(2, num_tokens, 3), torch.randn(2, num_tokens, 3)):
        scores = outlier_scores(tokens)
        assert torch.isfinite(scores).all()
    assert not find_outliers(outlier_scores(torch.ones(2, num_tokens, 3))).any()


def test_an_outlier_becomes_the_mean_of_its_sound_neighbours_and_stays_where_there_is_none():
    tokens = torch.arange(6.0).reshape(1, 6, 1)  # a 2×3 grid
    outliers = torch.tensor([[True, False, False, True, False, False]])
    found = repair_tokens(tokens, outliers, (2, 3))[0, :, 0]
    assert found.tolist() == [2.5, 1, 2, 2.5, 4, 5]
    everything = torch.ones(1, 6, dtype=torch.bool)
    assert torch.equal(repair_tokens(tokens, everything, (2, 3)), tokens)
