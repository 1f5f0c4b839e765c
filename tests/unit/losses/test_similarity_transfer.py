"""T5, T6, T8 and T9 of the method's notes: numbers worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as functional

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.losses.similarity_transfer import (
    BALANCE_STEPS,
    PairBalance,
    balance_weights,
    centred_cosine,
    distillation_loss,
    pair_targets,
    score_similarity,
    similarity_loss,
)

ACTIVE = torch.tensor([True])
NO_TAGS = torch.zeros(1, 4, dtype=torch.bool)


def single(value: float) -> torch.Tensor:
    return torch.tensor([[[value]]])


@pytest.mark.parametrize(
    ("teacher", "student", "cce", "ce"),
    [
        (0.9, 0.8, -0.23511, 0.36177),
        (0.1, 0.8, -0.07293, 1.47081),
        (0.5, 0.3, 0, 0.78032),
        (1, 1, -0.34657, 0.05600),
        (0, 0, -0.34657, 0.05600),
        (1, 0, 0, 4.55922),
        (0, 1, 0, 4.55922),
    ],
)
def test_distillation_has_the_published_values(teacher, student, cce, ce):
    pair = single(float(teacher)), single(float(student))
    assert distillation_loss(*pair, ACTIVE).item() == pytest.approx(cce, abs=2e-5)
    assert distillation_loss(*pair, ACTIVE, "ce").item() == pytest.approx(ce, abs=2e-5)


@pytest.mark.parametrize(("teacher", "slope"), [(0.9, -0.4 / 1.8), (0.2, 0.3 / 1.2), (0.5, 0.0)])
def test_the_clipped_form_pulls_almost_alike_everywhere(teacher, slope):
    student = single(0.8).requires_grad_()
    distillation_loss(single(teacher), student, ACTIVE).backward()
    assert student.grad.item() == pytest.approx(slope)


def test_no_gradient_reaches_the_teacher():
    teacher, student = single(0.7).requires_grad_(), single(0.4).requires_grad_()
    distillation_loss(teacher, student, ACTIVE, "ce").backward()
    assert teacher.grad is None
    assert student.grad.item() != 0


def test_only_active_pairs_of_images_count():
    teacher, student = torch.tensor([[[0.9]], [[0.1]]]), torch.tensor([[[0.8]], [[0.8]]])
    first = distillation_loss(teacher, student, torch.tensor([True, False]))
    assert first.item() == pytest.approx(-0.23511, abs=1e-5)
    assert distillation_loss(teacher, student, torch.tensor([False, False])).item() == 0


def test_scores_are_compared_by_their_cosine():
    # T6
    classes = torch.tensor([[0.7, 0.1], [0.2, 0.6]])
    masks = torch.tensor([[0.9, 0.2, 0.9], [0.1, 0.8, 0.8]])
    scores = masks.T @ classes
    torch.testing.assert_close(scores, torch.tensor([[0.65, 0.15], [0.30, 0.50], [0.79, 0.57]]))
    cosines = score_similarity(scores[None], scores[None])[0]
    assert cosines[0, 1].item() == pytest.approx(0.69414, abs=1e-5)
    assert cosines[0, 2].item() == pytest.approx(0.92175, abs=1e-5)
    assert cosines[1, 2].item() == pytest.approx(0.91896, abs=1e-5)


def test_the_weight_of_a_kind_of_pair_is_the_share_of_the_other_kind():
    # T8
    positive, negative = balance_weights(torch.tensor(20.0), torch.tensor(80.0))
    assert (positive.item(), negative.item()) == pytest.approx((0.8, 0.2))
    same = torch.zeros(1, 10, 10, dtype=torch.bool)
    same[0, :2] = True
    loss = similarity_loss(torch.zeros(1, 10, 10), same, torch.ones_like(same), (positive, negative))
    assert loss.item() == pytest.approx(0.22181, abs=1e-5)
    assert loss.item() == pytest.approx(math.log(2) * (0.8 * 20 + 0.2 * 80) / 100)


@pytest.mark.parametrize("points", [5, 10, 20, 32, 100])
def test_all_pairs_are_counted_over_the_last_steps_whatever_the_number_of_points(points):
    balance = PairBalance()
    inside = torch.arange(points) < round(0.8 * points)  # points of the common class come first
    same = (inside[:, None] & inside)[None]
    valid = torch.ones_like(same)
    for _ in range(BALANCE_STEPS):
        positive, negative = balance(same, valid)
    share = same.float().mean().item()
    assert (positive.item(), negative.item()) == pytest.approx((1 - share, share))
    for _ in range(BALANCE_STEPS):
        positive, negative = balance(~torch.zeros_like(valid), valid)
    assert (positive.item(), negative.item()) == (0, 1)
    assert set(balance.state_dict()) == {"counts", "position"}


def test_a_pair_says_something_where_either_pixel_has_a_mask():
    # T9, kinds of the pixels: A = (masked, hidden), B = (masked, void)
    first = torch.tensor([[1, IGNORE_INDEX]])
    second = torch.tensor([[1, IGNORE_INDEX]])
    same, valid = pair_targets(first, second, NO_TAGS, NO_TAGS)
    assert valid[0].tolist() == [[True, True], [True, False]]
    assert same[0, 0].tolist() == [True, False]


def test_pairs_with_a_pixel_without_a_mask_can_be_left_out():
    labels = torch.tensor([[1, 2, IGNORE_INDEX]])
    same, valid = pair_targets(labels, labels, NO_TAGS, NO_TAGS, unlabelled_differ=False)
    assert valid[0].tolist() == [[True, True, False], [True, True, False], [False] * 3]
    assert same[valid].tolist() == [True, False, False, True]


def test_a_pixel_without_a_mask_may_be_of_a_class_that_its_image_has_a_tag_for():
    # images with tags only: their pixels may well show the classes that have masks elsewhere
    tags = torch.tensor([[False, True, False, False]])
    masked, tagged_only = torch.tensor([[1, 2]]), torch.tensor([[IGNORE_INDEX]])
    _, valid = pair_targets(masked, tagged_only, NO_TAGS, tags)
    assert valid[0].tolist() == [[False], [True]]
    _, valid = pair_targets(tagged_only, masked, tags, NO_TAGS)
    assert valid[0].tolist() == [[False, True]]


def test_without_a_valid_pair_there_is_nothing_to_learn():
    same = torch.zeros(1, 2, 2, dtype=torch.bool)
    weights = torch.tensor(0.5), torch.tensor(0.5)
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    loss = similarity_loss(logits, same, same, weights)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_steps_without_a_single_valid_pair_cost_nothing_however_many_they_are():
    # A batch of images with tags only has none; the counts of 25 such steps are all zero.
    balance, nothing = PairBalance(), torch.zeros(1, 10, 10, dtype=torch.bool)
    for _ in range(BALANCE_STEPS + 1):
        weights = balance(nothing, nothing)
        assert similarity_loss(torch.ones(1, 10, 10), nothing, nothing, weights).item() == 0


def test_the_cross_entropy_is_computed_outside_of_half_precision(monkeypatch):
    # On a GPU torch refuses binary cross-entropy of probabilities under autocast.
    computed = functional.binary_cross_entropy

    def checked(*arguments, **options):
        assert not torch.is_autocast_enabled("cpu")
        assert all(each.dtype == torch.float32 for each in arguments)
        return computed(*arguments, **options)

    monkeypatch.setattr(functional, "binary_cross_entropy", checked)
    with torch.autocast("cpu", torch.bfloat16):
        half = distillation_loss(single(0.9), single(0.8).bfloat16(), ACTIVE, "ce")
    assert half.item() == pytest.approx(0.36177, abs=2e-3)


def test_the_cosine_teacher_knows_alike_from_unlike_without_learning():
    # two clusters around a large common vector, which says nothing of any pair
    common, first, second = torch.tensor([50.0, 0, 0]), torch.tensor([0, 1.0, 0]), torch.tensor([0, -1.0, 0])
    here, there = (
        torch.stack([common + first, common + second])[None],
        torch.stack([common + 2 * first])[None],
    )
    taught = centred_cosine(here, there)
    assert taught.shape == (1, 2, 1)
    assert taught[0, 0, 0] > 0.9 > 0.1 > taught[0, 1, 0]
    # by hand: the mean of second coordinates 1, -1, 2 is 2/3
    assert taught[0].flatten().tolist() == pytest.approx([1, 0], abs=1e-6)
