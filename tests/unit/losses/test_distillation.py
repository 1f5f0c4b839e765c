import math

import pytest
import torch
from torch.nn.functional import normalize

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.losses.distillation import (
    VectorBank,
    condense,
    exclusive_loss,
    info_nce,
    non_exclusive_loss,
    text_space_loss,
)
from lexiseg.losses.mask import dice_loss, focal_loss

TWO_TOKENS = torch.eye(2)[None, :, None]  # (1, 0) and (0, 1) side by side


def weights_of(num_tokens: int, width: int, length: float, temperature: float | None) -> float:
    """Give the weight of one aligned token among orthogonal ones."""
    maps = torch.zeros(1, width, 1, num_tokens)
    maps[0, 1], maps[0, 1, 0, 0] = length, 0
    maps[0, 0, 0, 0] = length
    vector = torch.zeros(1, width)
    vector[0, 0] = length
    return (condense(maps, vector, temperature=temperature)[0, 0] / length).item()


def test_condensing_weighs_what_fits_the_image():
    condensed = condense(TWO_TOKENS, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(condensed, torch.tensor([[0.66976, 0.33024]]), atol=1e-5, rtol=0)
    unit = torch.tensor([[0.89690, 0.44223]])
    torch.testing.assert_close(normalize(condensed, dim=1), unit, atol=1e-5, rtol=0)
    negative = torch.tensor([[0.0, 1.0]])
    for temperature, loss in ((0.07, 0.0015095), (1.0, 0.49143)):
        found = info_nce(
            condensed, torch.tensor([[1.0, 0.0]]), negatives=negative, temperature=temperature
        ).item()
        assert found == pytest.approx(loss, rel=1e-3)


def test_unit_vectors_and_the_root_make_a_plain_mean():
    assert weights_of(1024, 512, 1.0, None) == pytest.approx(0.00102, abs=5e-6)
    assert weights_of(1024, 512, 10.0, None) == pytest.approx(0.0751, abs=5e-5)
    assert weights_of(1024, 512, 1.0, 0.07) == pytest.approx(0.99936, abs=5e-6)
    assert weights_of(1024, 512, 10.0, 0.07) == pytest.approx(0.99936, abs=5e-6)


@pytest.mark.parametrize(("negatives", "loss"), [(15, 2.7726), (24, 3.2189), (39, 3.6889)])
def test_a_student_that_says_nothing_costs_the_logarithm_of_the_choices(negatives, loss):
    same = torch.ones(1, 8)
    found = info_nce(same, same, negatives=torch.ones(negatives, 8))
    assert found.item() == pytest.approx(loss, abs=1e-4)


def test_a_perfect_match_and_its_own_copy_in_the_bank():
    vectors = torch.eye(26)
    own, others, copy = vectors[:1], vectors[1:25], vectors[:1]
    assert info_nce(own, own, negatives=others).item() == pytest.approx(1.4997e-5, rel=1e-2)
    with_copy = info_nce(own, own, negatives=torch.cat([others[:23], copy]))
    assert with_copy.item() == pytest.approx(0.69315, abs=1e-4)
    excluded = torch.zeros(1, 25, dtype=torch.bool)
    excluded[0, -1] = True
    without = info_nce(own, own, negatives=torch.cat([others[:23], copy]), excluded=excluded)
    assert without.item() < 1e-4


def test_regions_and_text_space_by_hand():
    teachers = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    assert info_nce(torch.eye(2), teachers).item() == pytest.approx(0.055844, abs=1e-6)
    assert text_space_loss(torch.eye(2), torch.eye(2)).item() == pytest.approx(0.50320, abs=1e-5)


def test_lengths_do_not_matter_to_info_nce():
    students, teachers = torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(info_nce(students * 7, teachers * 0.1), info_nce(students, teachers))


def test_nothing_at_all_costs_nothing_and_has_a_gradient():
    students = torch.zeros(0, 4, requires_grad=True)
    for loss in (info_nce(students, torch.zeros(0, 4)), text_space_loss(students, torch.zeros(0, 4))):
        loss.backward()
        assert loss.item() == 0


def test_gradients_reach_the_student_only():
    maps, vectors = torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    negatives, texts = torch.randn(3, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    condensed = condense(maps, vectors)
    (info_nce(condensed, vectors, negatives=negatives) + text_space_loss(condensed, texts)).backward()
    assert maps.grad is not None
    assert maps.grad.abs().sum() > 0
    assert vectors.grad is None
    assert negatives.grad is None
    assert texts.grad is None


def test_half_precision_is_left_for_the_loss():
    with torch.autocast("cpu", torch.bfloat16):
        loss = info_nce(torch.randn(2, 4).bfloat16(), torch.randn(2, 4).bfloat16())
    assert loss.dtype == torch.float32


def test_non_exclusive_is_focal_and_dice_without_void():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 2, (2, 4, 4))
    labels[0, 0] = IGNORE_INDEX
    kept = labels < 3
    rows = torch.stack([logits[:, label][kept] for label in range(3)])
    masks = torch.stack([labels[kept] == label for label in range(3)])
    expected = 20 * focal_loss(rows, masks).mean() + dice_loss(rows, masks)[:2].mean()
    torch.testing.assert_close(non_exclusive_loss(logits, labels, focal=20.0, dice=1.0), expected)


def test_exclusive_is_cross_entropy_without_void():
    logits = torch.zeros(1, 4, 2, 2)
    labels = torch.tensor([[[0, 1], [3, IGNORE_INDEX]]])
    assert exclusive_loss(logits, labels).item() == pytest.approx(math.log(4))


def test_all_void_costs_nothing_and_has_a_gradient():
    logits = torch.zeros(1, 4, 2, 2, requires_grad=True)
    void = torch.full((1, 2, 2), IGNORE_INDEX)
    loss = exclusive_loss(logits, void) + non_exclusive_loss(logits, void, focal=20.0, dice=1.0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


def test_the_bank_forgets_the_oldest():
    bank = VectorBank(24, 1)
    assert bank().shape == (0, 1)
    for value in range(1, 31):
        bank.push(torch.tensor([[float(value)]], requires_grad=True))
    assert sorted(bank().flatten().tolist()) == list(range(7, 31))
    assert not bank().requires_grad
    bank.push(torch.arange(100.0)[:, None])  # more than fit
    assert sorted(bank().flatten().tolist()) == list(range(76, 100))
    bank.push(torch.tensor([[100.0]]))
    assert sorted(bank().flatten().tolist()) == list(range(77, 101))


def test_what_was_read_does_not_change_when_more_is_pushed():
    bank = VectorBank(2, 1)
    bank.push(torch.tensor([[1.0], [2.0]]))
    read = bank()
    bank.push(torch.tensor([[3.0]]))
    assert read.flatten().tolist() == [1, 2]


def test_a_bank_of_nothing_stays_empty():
    bank = VectorBank(0, 3)
    bank.push(torch.ones(2, 3))
    assert bank().shape == (0, 3)


def test_the_bank_is_in_a_checkpoint():
    bank, other = VectorBank(4, 2), VectorBank(4, 2)
    bank.push(torch.randn(3, 2))
    other.load_state_dict(bank.state_dict())
    assert torch.equal(bank(), other())
