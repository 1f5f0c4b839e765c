"""T2 and T3 of the method's notes: numbers worked out by hand."""

import pytest
import torch

from lexiseg.losses.complementary import GATE, ComplementaryLoss

# Two queries of tags over 2×2 pixels, and a mask over the right column.
LOGITS = torch.tensor([[[2.0, -2.0], [0.0, -4.0]], [[-1.0, -3.0], [1.0, -4.0]]])[None]
KNOWN = torch.tensor([[False, True], [False, True]])


def gradient(loss: ComplementaryLoss, logits: torch.Tensor = LOGITS) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    loss(logits, KNOWN).backward()
    assert logits.grad is not None
    return logits.grad[0]


def test_the_gate_is_five_per_cent():
    assert torch.tensor(GATE).sigmoid().item() == pytest.approx(0.05, abs=1e-5)


def test_the_union_of_tagged_masks_is_compared_with_what_the_masks_leave_over():
    assert ComplementaryLoss()(LOGITS, KNOWN).item() == pytest.approx(0.1543957, abs=1e-6)
    assert ComplementaryLoss(focal_weight=1.0, dice_weight=0.0)(LOGITS, KNOWN).item() == pytest.approx(
        0.0018911, abs=1e-6
    )
    assert ComplementaryLoss(focal_weight=0.0)(LOGITS, KNOWN).item() == pytest.approx(0.1165744, abs=1e-6)


def test_without_the_gate_the_number_is_another():
    assert ComplementaryLoss(gate=None)(LOGITS, KNOWN).item() == pytest.approx(0.1479812, abs=1e-6)
    assert ComplementaryLoss(gate=-50.0)(LOGITS, KNOWN).item() == pytest.approx(0.1479812, abs=1e-6)


def test_gradient_reaches_only_the_winning_query_and_nothing_below_the_gate():
    with_gate, without = gradient(ComplementaryLoss()), gradient(ComplementaryLoss(gate=None))
    assert (with_gate != 0).flatten(1).tolist() == [[True, True, False, False], [False, False, True, False]]
    assert without[:, 1, 1].abs().sum() > 0
    assert with_gate[:, 1, 1].abs().sum() == 0


@pytest.mark.parametrize(("gate", "expected"), [(GATE, 0.0205886), (None, 3.7e-5)])
def test_a_nearly_perfect_mask_costs_what_the_gate_costs(gate, expected):
    perfect = torch.tensor([[10.0, -10.0], [10.0, -10.0]])[None, None]
    assert ComplementaryLoss(gate=gate)(perfect, KNOWN).item() == pytest.approx(expected, rel=0.02)


def test_masks_below_the_gate_everywhere_are_left_in_peace():
    low = torch.full((1, 2, 2, 2), -9.0)
    assert gradient(ComplementaryLoss(), low).abs().sum() == 0
    assert ComplementaryLoss()(low, KNOWN).item() == pytest.approx(7.3849715, abs=1e-5)


def test_a_learnable_gate_gets_a_gradient_where_it_wins():
    loss = ComplementaryLoss(gate_learnable=True)
    loss(LOGITS, KNOWN).backward()
    assert loss.gate.grad.abs() > 0
    assert not list(ComplementaryLoss().parameters())


def test_padding_is_what_no_tag_covers_unless_it_does_not_count():
    padding = torch.tensor([[False, False], [True, False]])
    as_negative = ComplementaryLoss()(LOGITS, KNOWN, padding)
    assert as_negative.item() == pytest.approx(ComplementaryLoss()(LOGITS, KNOWN | padding).item(), abs=1e-7)
    without = ComplementaryLoss(padding_is_negative=False)
    changed = LOGITS.clone()
    changed[..., 1, 0] = 5.0
    assert without(LOGITS, KNOWN, padding).item() == without(changed, KNOWN, padding).item()
    assert as_negative.item() != ComplementaryLoss()(changed, KNOWN, padding).item()


def test_layers_add_up():
    twice = LOGITS.repeat(2, 1, 1, 1)
    assert ComplementaryLoss()(twice, KNOWN).item() == pytest.approx(
        2 * ComplementaryLoss()(LOGITS, KNOWN).item()
    )
