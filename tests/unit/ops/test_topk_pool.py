import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.ops.topk_pool import token_mean, topk_mean, topk_mean_by_torch

TOKENS = torch.tensor([[[4.0, 0, -1], [1, 3, 2], [2, 1, 5], [3, -2, 0]]])


def random_tokens(batch: int, num_tokens: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, num_tokens, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("top_k", "wanted"),
    [(1, (4.0, 3, 5)), (2, (3.5, 2, 3.5)), (3, (3, 4 / 3, 7 / 3)), (4, (2.5, 0.5, 1.5))],
)
@pytest.mark.parametrize("pool", [topk_mean, topk_mean_by_torch])
@pytest.mark.parametrize("needs_gradient", [False, True])
def test_topk_mean_of_an_example_worked_out_by_hand(top_k, wanted, pool, needs_gradient):
    pooled = pool(TOKENS.clone().requires_grad_(needs_gradient), top_k)
    torch.testing.assert_close(pooled, torch.tensor([wanted]))


@pytest.mark.parametrize(
    ("top_k", "wanted"),
    [(1, (0.5657, 0.4243, 0.7071)), (2, (0.6556, 0.3746, 0.6556)), (4, (0.8452, 0.1690, 0.5071))],
)
def test_topk_mean_of_the_example_with_unit_length(top_k, wanted):
    unit = torch.nn.functional.normalize(topk_mean(TOKENS, top_k), dim=-1)
    torch.testing.assert_close(unit, torch.tensor([wanted]), atol=6e-5, rtol=0)


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_all_tokens_are_the_mean_and_one_is_the_maximum(batch, num_tokens, width, seed):
    tokens = random_tokens(batch, num_tokens, width, seed).requires_grad_()
    torch.testing.assert_close(topk_mean(tokens, num_tokens), tokens.mean(1))
    torch.testing.assert_close(topk_mean(tokens, num_tokens + 3), tokens.mean(1))
    torch.testing.assert_close(topk_mean(tokens, 1), tokens.amax(1))


@given(st.integers(2, 30), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_order_does_not_matter_a_larger_k_lowers_it_and_a_constant_shifts_it(num_tokens, count, seed):
    tokens = random_tokens(3, num_tokens, 7, seed).requires_grad_()
    pooled = topk_mean(tokens, count)
    shuffled = tokens[:, torch.randperm(num_tokens, generator=torch.Generator().manual_seed(seed))]
    torch.testing.assert_close(topk_mean(shuffled, count), pooled)
    assert (topk_mean(tokens, count + 1) <= pooled + 1e-6).all()
    shift = random_tokens(1, 1, 7, seed + 1)
    torch.testing.assert_close(topk_mean(tokens + shift, count), pooled + shift[0])


@pytest.mark.parametrize("count", [1, 2, 5, 30])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_one_over_k_at_k_places_of_every_channel(count, masked):
    tokens = random_tokens(4, 40, 6).requires_grad_()
    keep = (torch.rand(4, 40, generator=torch.Generator().manual_seed(1)) < 0.9) if masked else None
    topk_mean(tokens, count, keep).sum().backward()
    assert tokens.grad is not None
    assert ((tokens.grad == 0).sum(1) == 40 - count).all()
    torch.testing.assert_close(tokens.grad.amax(1), torch.full((4, 6), 1 / count))
    if keep is not None:
        assert (tokens.grad[~keep] == 0).all()


def test_a_token_that_wins_nowhere_gets_no_gradient():
    tokens = TOKENS.clone().requires_grad_()
    topk_mean(tokens, 1).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.tolist() == [[[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]]


def test_padding_competes_or_not():
    tokens = torch.tensor([[[0.2, -0.5], [0.6, -0.1], [0.9, 0.4]]])
    own = torch.tensor([[True, True, False]])
    torch.testing.assert_close(topk_mean(tokens, 1), torch.tensor([[0.9, 0.4]]))
    torch.testing.assert_close(topk_mean(tokens, 1, own), torch.tensor([[0.6, -0.1]]))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_more_padding_changes_the_plain_result_only(count):
    tokens = random_tokens(3, 6, 8)
    more = torch.cat([tokens, random_tokens(3, 4, 8, 1) + 2], dim=1)
    own = torch.arange(10)[None].expand(3, -1) < torch.tensor([[3], [6], [2]])
    torch.testing.assert_close(topk_mean(more, count, own), topk_mean(tokens, count, own[:, :6]))
    assert not torch.allclose(topk_mean(more, count), topk_mean(tokens, count))


def test_m_is_lowered_sample_by_sample():
    tokens = random_tokens(3, 6, 8)
    own = torch.arange(6)[None] < torch.tensor([[2], [6], [1]])
    together = topk_mean(tokens, 3, own)
    torch.testing.assert_close(together[0], tokens[0, :2].mean(0))
    torch.testing.assert_close(together[1], tokens[1].topk(3, 0).values.mean(0))
    torch.testing.assert_close(together[2], tokens[2, 0])
    for row in range(3):
        torch.testing.assert_close(topk_mean(tokens[row : row + 1], 3, own[row : row + 1])[0], together[row])


def test_choosing_whole_tokens_would_be_something_else():
    largest = TOKENS[0, TOKENS[0].norm(dim=-1).argmax()]
    assert largest.tolist() == [2, 1, 5]
    assert topk_mean(TOKENS, 1)[0].tolist() != largest.tolist()


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_compiled_loop_equals_torch(batch, num_tokens, width, count, masked):
    count = min(count, num_tokens)
    keep = None
    if masked:
        keep = torch.rand(batch, num_tokens, generator=torch.Generator().manual_seed(count)) < 0.6
        keep[:, 0] = True
    first = random_tokens(batch, num_tokens, width).requires_grad_()
    second = first.detach().clone().requires_grad_()
    weights = random_tokens(batch, 1, width, 5)[:, 0]
    ours, torchs = topk_mean(first, count, keep), topk_mean_by_torch(second, count, keep)
    torch.testing.assert_close(ours, torchs)
    (ours * weights).sum().backward()
    (torchs * weights).sum().backward()
    torch.testing.assert_close(first.grad, second.grad)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_pooled_in_single(kind):
    tokens = random_tokens(2, 9, 4).to(kind).requires_grad_()
    pooled = topk_mean(tokens, 3)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, topk_mean(tokens.float(), 3))
    pooled.sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.dtype == kind


@pytest.mark.parametrize("place", [0, 3, 8])
def test_a_number_that_is_none_is_not_lost(place):
    tokens = random_tokens(1, 9, 4).requires_grad_()
    spoilt = tokens.detach().clone()
    spoilt[0, place, 2] = float("nan")
    pooled = topk_mean(spoilt.requires_grad_(), 2)
    assert np.isnan(pooled.detach().numpy()).tolist() == [[False, False, True, False]]


@pytest.mark.exhaustive  # the loops are compiled for float64, for this test alone
def test_numeric_differences_agree_with_the_gradient():
    tokens = random_tokens(2, 7, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: topk_mean(values, 3), tokens)


def test_the_mean_over_own_tokens_is_what_many_responses_give():
    tokens = random_tokens(3, 6, 8)
    own = torch.arange(6)[None] < torch.tensor([[2], [6], [1]])
    torch.testing.assert_close(token_mean(tokens, own), topk_mean(tokens, 6, own))
    torch.testing.assert_close(token_mean(tokens), tokens.mean(1))
