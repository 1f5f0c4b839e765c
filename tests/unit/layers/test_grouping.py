"""P1 to P7 of GroupViT: the assignment of tokens to groups, with the numbers worked out by hand."""

import pytest
import torch

from lexiseg.layers.grouping import (
    GroupingBlock,
    gumbel_noise,
    hard_assignment,
    merge_tokens,
    soft_assignment,
)

LOGITS = torch.tensor([[[2.0, 0, 1], [0, 1, 1.5]]])
NOISE = torch.tensor([[[0, 0.5, 1], [1.5, 0, 0]]])
HARD = torch.tensor([[[1.0, 0, 0], [0, 1, 1]]])


def close(found, wanted, atol=6e-5):
    torch.testing.assert_close(found, torch.as_tensor(wanted), atol=atol, rtol=0)


def test_soft_shares_sum_to_one_over_the_groups_of_a_token_p1():
    shares = soft_assignment(torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)))
    close(shares.sum(1), torch.ones(2, 7), 1e-6)
    assert not torch.allclose(shares.sum(2), torch.ones(2, 5))


def test_the_worked_assignment_p2():
    close(soft_assignment(LOGITS)[0], [[0.8808, 0.2689, 0.3775], [0.1192, 0.7311, 0.6225]])
    assert torch.equal(hard_assignment(LOGITS), HARD)


def test_noise_may_move_a_token_to_another_group_p3():
    close(soft_assignment(LOGITS + NOISE)[0], [[0.6225, 0.3775, 0.6225], [0.3775, 0.6225, 0.3775]])
    assert torch.equal(hard_assignment(LOGITS + NOISE)[0], torch.tensor([[1.0, 0, 1], [0, 1, 0]]))


def test_a_group_is_drawn_as_often_as_its_share_says_p3():
    """Within 0.01 for the first token after 10,000 draws, within 0.005 for all after 200,000: 3 deviations."""
    torch.manual_seed(0)
    many = LOGITS.expand(200_000, 2, 3)
    drawn = hard_assignment(many + gumbel_noise(many))
    close(drawn[:10_000, :, 0].mean(0), [0.8808, 0.1192], 0.01)
    close(drawn.mean(0), soft_assignment(LOGITS)[0], 0.005)


def test_the_gradient_is_that_of_the_softmax_though_the_value_is_one_or_zero_p4():
    logits = LOGITS.clone().requires_grad_()
    for group, wanted in enumerate(([0.105, -0.105], [-0.105, 0.105])):
        (row,) = torch.autograd.grad(hard_assignment(logits)[0, group, 0], logits)
        close(row[0, :, 0], wanted)
        assert not row[0, :, 1:].any()


@pytest.mark.parametrize(
    ("offset", "wanted"), [(1.0, [[0.5, 0], [4 / 3, 2]]), (0.0, [[1.0, 0], [2, 3]])], ids=["code", "paper"]
)
def test_the_worked_merge_p5(offset, wanted):
    values = torch.tensor([[[1.0, 0], [0, 2], [4, 4]]])
    close(merge_tokens(HARD, values, offset)[0], wanted)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_group_without_tokens_gets_zeros_and_a_finite_gradient_p5(offset):
    values = torch.ones(1, 3, 2, requires_grad=True)
    merged = merge_tokens(torch.tensor([[[1.0, 1, 1], [0, 0, 0]]]), values, offset)
    assert not merged[0, 1].any()
    merged.sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_two_levels_multiply_p6():
    first = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    product = first @ torch.tensor([[0.7, 0.3], [0.1, 0.9]])
    close(product, [[0.64, 0.36], [0.46, 0.54], [0.22, 0.78]])
    close(product.sum(1), torch.ones(3))
    assert product.argmax(1).tolist() == [0, 1, 1]


def block(**changes) -> GroupingBlock:
    torch.manual_seed(1)
    sizes = {"num_tokens": 5, "num_groups": 3, "token_hidden": 8, "cross_hidden": 24, "channel_hidden": 32}
    return GroupingBlock(12, 3, **{**sizes, **changes})


def inputs(num_segments=11):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, num_segments, 12, generator=generator), torch.randn(2, 5, 12, generator=generator)


def test_permuting_segments_permutes_the_assignment_and_leaves_the_groups_p7():
    module = block().eval()
    segments, tokens = inputs()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    groups, logits = module(segments, tokens)
    moved, moved_logits = module(segments[:, order], tokens)
    torch.testing.assert_close(moved_logits, logits[:, :, order])
    torch.testing.assert_close(moved, groups)


def test_permuted_noise_goes_with_permuted_segments_p7(monkeypatch):
    module = block().train()
    segments, tokens = inputs()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    noise = gumbel_noise(torch.empty(2, 3, 11))
    monkeypatch.setattr("lexiseg.layers.grouping.gumbel_noise", lambda like: noise)
    groups, _ = module(segments, tokens)
    noise = noise[:, :, order]
    moved, _ = module(segments[:, order], tokens)
    torch.testing.assert_close(moved, groups)


def test_there_is_noise_in_training_and_none_in_evaluation_p3():
    module = block()
    first, second = (module.train()(*inputs())[0] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (module.eval()(*inputs())[0] for _ in range(2))
    assert torch.equal(first, second)


def test_soft_merging_differs_from_hard_merging():
    assert not torch.allclose(block().eval()(*inputs())[0], block(hard=False).eval()(*inputs())[0])


def test_gradients_reach_every_parameter_and_both_inputs():
    module = block().train()
    segments, tokens = (rows.requires_grad_() for rows in inputs())
    module(segments, tokens)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert segments.grad is not None
    assert tokens.grad is not None
