import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lexiseg.losses.mask import dice_loss, focal_and_dice, focal_loss, pairwise_focal_and_dice


def drawn(num, pixels=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(num, pixels, generator=generator), torch.rand(
        num, pixels, generator=generator
    ) > 0.6


def test_the_worked_example_of_the_complementary_loss():
    union, left_over = torch.tensor([[2.0, -2.0, 1.0, -2.9444]]), torch.tensor([[True, False, True, False]])
    assert focal_loss(union, left_over).item() == pytest.approx(0.0018911 * 1, abs=1e-6)
    assert dice_loss(union, left_over).item() == pytest.approx(0.1165744, abs=1e-6)


def test_both_losses_are_those_of_transformers():
    from transformers.models.maskformer import modeling_maskformer as theirs

    logits, masks = drawn(7)
    expected = theirs.sigmoid_focal_loss(logits, masks.float(), 7), theirs.dice_loss(logits, masks.float(), 7)
    torch.testing.assert_close(focal_loss(logits, masks).mean(), expected[0])
    torch.testing.assert_close(dice_loss(logits, masks).mean(), expected[1])


def test_a_perfect_mask_costs_nothing_and_an_empty_one_is_no_division_by_zero():
    masks = torch.tensor([[True, False, True, True], [False] * 4])
    logits = torch.where(masks, 40.0, -40.0)
    assert focal_loss(logits, masks).max() < 1e-6
    assert dice_loss(logits, masks).max() < 1e-6
    assert focal_loss(-logits, masks).min() > 5
    assert dice_loss(-logits, masks).min() > 0.7


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_all_pairs_cost_what_each_pair_costs(scale):
    logits = scale * torch.stack([drawn(6, seed=seed)[0] for seed in (1, 2)])
    masks = torch.stack([drawn(4, seed=seed)[1] for seed in (3, 4)]).float()
    masks[1, 3] = 0
    costs = pairwise_focal_and_dice(logits, masks, focal=20.0, dice=1.5)
    for image in range(2):
        for target in range(4):
            mask = masks[image, target].expand(6, -1)
            alone = 20 * focal_loss(logits[image], mask) + 1.5 * dice_loss(logits[image], mask)
            torch.testing.assert_close(costs[image, :, target], alone, atol=1e-5, rtol=1e-5)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor):
                self.numbers = max(self.numbers, value.numel())
        return result


def test_nothing_has_proposals_and_targets_and_pixels_at_once():
    logits, masks = torch.randn(2, 10, 400), torch.zeros(2, 30, 400)
    with Largest() as largest:
        pairwise_focal_and_dice(logits, masks, focal=20.0, dice=1.0)
    assert largest.numbers <= 2 * max(2 * 10, 30) * 400


@pytest.mark.parametrize("part", [1, 150, 2**18])
def test_the_losses_taken_together_have_the_values_and_slopes_of_the_two(part, monkeypatch):
    monkeypatch.setattr("lexiseg.losses.mask._PART_ON_CPU", part)
    logits, masks = drawn(5)
    logits = logits.double()
    logits[0] *= 20
    logits.requires_grad_()
    weights = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)).double()
    together = torch.stack(focal_and_dice(logits, masks))
    (slopes,) = torch.autograd.grad((weights * together).sum(), logits)
    apart = torch.stack([focal_loss(logits, masks), dice_loss(logits, masks)])
    (expected,) = torch.autograd.grad((weights * apart).sum(), logits)
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(slopes, expected)
    assert expected.abs().max() > 1e-3


def test_slopes_are_those_of_finite_differences():
    logits, masks = drawn(2, pixels=7)
    assert torch.autograd.gradcheck(
        lambda values: focal_and_dice(values, masks), logits.double().requires_grad_()
    )


def test_for_the_gradient_no_more_is_kept_than_logits_masks_and_two_numbers_a_mask():
    logits, masks = drawn(5)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda value: kept.append(value) or value, lambda value: value
    ):
        focal_and_dice(logits.requires_grad_(), masks)
    assert [value.dtype for value in kept if value.ndim == 2] == [torch.float32, torch.bool]
    assert sum(value.numel() for value in kept if value.ndim < 2) == 2 * len(logits)
