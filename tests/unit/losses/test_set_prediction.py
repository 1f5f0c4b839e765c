import pytest
import torch
from torch.nn.functional import interpolate

from lexiseg.losses.set_prediction import SetTargets, SetWeights, match, match_layers, set_losses

SIDE, GRID, CLASSES = 32, 8, 5


def target(labels, *, tags=(), seed=0, side=SIDE):
    """Stripes of random heights, one a label, then tags without a mask."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randint(0, max(1, len(labels)), (side // 4, side // 4), generator=generator)
    stripes = order.repeat_interleave(4, 0).repeat_interleave(4, 1)
    masks = [stripes == index for index in range(len(labels))] + [torch.zeros_like(stripes).bool()] * len(
        tags
    )
    return SetTargets(
        labels=torch.tensor([*labels, *tags], dtype=torch.int64),
        masks=torch.stack(masks) if masks else torch.zeros(0, side, side, dtype=torch.bool),
        has_mask=torch.tensor([True] * len(labels) + [False] * len(tags), dtype=torch.bool),
    )


def answers(num_images, *, layers=3, queries=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(layers, num_images, queries, CLASSES + 1, generator=generator)
    masks = 3 * torch.randn(layers, num_images, queries, GRID, GRID, generator=generator)
    return classes, masks


def perfect(one, *, queries=7):
    """Class and mask logits of one image that are right: query q answers for target q."""
    classes = torch.full((1, 1, queries, CLASSES + 1), -10.0)
    classes[..., -1] = 10.0
    masks = torch.full((1, 1, queries, GRID, GRID), -10.0)
    small = interpolate(one.masks[None].float(), size=(GRID, GRID), mode="nearest")[0]
    for row, label in enumerate(one.labels):
        classes[0, 0, row, -1], classes[0, 0, row, label] = -10.0, 10.0
        masks[0, 0, row] = small[row] * 20 - 10
    return classes, masks


def pairs(assignment):
    return dict(zip(assignment[1].tolist(), assignment[0].tolist(), strict=True))


def test_with_masks_for_all_it_is_the_loss_of_transformers_maskformer():
    from transformers.models.maskformer.modeling_maskformer import MaskFormerHungarianMatcher, MaskFormerLoss

    classes, masks = answers(3)
    classes.requires_grad_(), masks.requires_grad_()
    targets = [target([0, 3, 4], seed=1), target([2], seed=2), target([1, 2, 3, 0], seed=3)]
    matcher = MaskFormerHungarianMatcher(cost_class=1.0, cost_mask=20.0, cost_dice=1.0)
    theirs = MaskFormerLoss(CLASSES, matcher, {}, eos_coef=0.1)
    given = [one.masks.float() for one in targets], [one.labels for one in targets]
    found = match_layers(classes, masks, targets)
    losses = set_losses(classes, masks, targets, found)
    expected = dict.fromkeys(("loss_cross_entropy", "loss_mask", "loss_dice"), torch.tensor(0.0))
    for layer in range(3):
        indices = matcher(masks[layer], classes[layer], *given)
        for (our_queries, our_targets), (queries, rows) in zip(found[layer], indices, strict=True):
            assert our_queries.tolist() == queries.tolist()
            assert our_targets.tolist() == rows.tolist()
        for name, value in theirs(masks[layer], classes[layer], *given).items():
            expected[name] = expected[name] + value
    torch.testing.assert_close(losses.classification, expected["loss_cross_entropy"])
    torch.testing.assert_close(losses.focal, expected["loss_mask"])
    torch.testing.assert_close(losses.dice, expected["loss_dice"])
    ours = torch.autograd.grad(losses.classification + 20 * losses.focal + losses.dice, [classes, masks])
    weights = {"loss_cross_entropy": 1.0, "loss_mask": 20.0, "loss_dice": 1.0}
    whole = sum(weights[name] * value for name, value in expected.items())
    for own, their in zip(ours, torch.autograd.grad(whole, [classes, masks]), strict=True):
        torch.testing.assert_close(own, their, atol=1e-6, rtol=1e-4)


def test_layers_add_up_and_are_matched_one_by_one():
    classes, masks = answers(2)
    targets = [target([0, 3], tags=[4], seed=1), target([2], seed=2)]
    found = match_layers(classes, masks, targets)
    together = set_losses(classes, masks, targets, found)
    apart = []
    for layer in range(3):
        own = match(classes[layer], masks[layer], targets)
        assert [pairs(one) for one in own] == [pairs(one) for one in found[layer]]
        apart.append(set_losses(classes[layer][None], masks[layer][None], targets, [own]))
    for name in ("classification", "focal", "dice"):
        total = torch.stack([getattr(losses, name) for losses in apart]).sum()
        torch.testing.assert_close(getattr(together, name), total)
    assert [pairs(one) for one in found[0]] != [pairs(one) for one in found[1]], "the layers must differ"


def test_a_mask_that_vanishes_in_the_small_map_swaps_nobodys_label():
    # T7 (b) of SimFormer's notes
    masks = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    masks[0, 1, 1] = True  # between the pixels that nearest resizing takes
    masks[1, :16] = True
    labels, has_mask = torch.tensor([0, 1, 2]), torch.tensor([True, True, False])
    one = SetTargets(labels=labels, masks=masks, has_mask=has_mask)
    assert not masks[0, ::4, ::4].any()
    classes, logits = perfect(one)
    shuffled = torch.tensor([4, 2, 0, 1, 3, 5, 6])  # where each answer is moved to
    place = shuffled.argsort()
    assert pairs(match_layers(classes[:, :, place], logits[:, :, place], [one])[0][0]) == {0: 4, 1: 2, 2: 0}


def test_a_tag_is_matched_by_its_class_alone():
    one = target([], tags=[3, 1])
    classes, _ = answers(1, layers=1)
    classes[0, 0, 5, 3] = classes[0, 0, 2, 1] = 9.0
    for seed in range(3):
        _, others = answers(1, layers=1, seed=seed)
        assert pairs(match_layers(classes, 8 * others, [one])[0][0]) == {0: 5, 1: 2}


def test_a_tag_changes_the_class_loss_but_no_mask_loss():
    tagged, untagged = target([0, 1], tags=[3]), target([0, 1])
    classes, masks = answers(1, layers=1)
    masks.requires_grad_()
    found = match_layers(classes, masks, [tagged])
    losses = set_losses(classes, masks, [tagged], found)
    base = [(found[0][0][0][found[0][0][1] < 2], found[0][0][1][found[0][0][1] < 2])]
    without = set_losses(classes, masks, [untagged], [base])
    torch.testing.assert_close(losses.focal, without.focal)
    torch.testing.assert_close(losses.dice, without.dice)
    assert losses.classification != without.classification
    (slopes,) = torch.autograd.grad(losses.focal + losses.dice, masks)
    assert slopes[0, 0, pairs(found[0][0])[2]].abs().max() == 0
    assert slopes[0, 0, pairs(found[0][0])[0]].abs().max() > 0


def test_what_is_painted_under_a_tag_changes_nothing():
    one = target([0, 1], tags=[3, 4])
    painted = one.masks.clone()
    painted[2:] = torch.rand(2, SIDE, SIDE) > 0.5
    other = SetTargets(labels=one.labels, masks=painted, has_mask=one.has_mask)
    classes, masks = answers(1)
    found, again = match_layers(classes, masks, [one]), match_layers(classes, masks, [other])
    assert [pairs(layer[0]) for layer in found] == [pairs(layer[0]) for layer in again]
    losses, same = set_losses(classes, masks, [one], found), set_losses(classes, masks, [other], again)
    assert (losses.classification, losses.focal, losses.dice) == (
        same.classification,
        same.focal,
        same.dice,
    )


def test_images_without_a_target_teach_that_there_is_no_object():
    classes, masks = answers(2)
    classes.requires_grad_(), masks.requires_grad_()
    targets = [target([]), target([1, 2])]
    found = match_layers(classes, masks, targets)
    assert all(len(layer[0][0]) == 0 and len(layer[1][0]) == 2 for layer in found)
    losses = set_losses(classes, masks, targets, found)
    (slopes,) = torch.autograd.grad(losses.classification, classes, retain_graph=True)
    assert (slopes[:, 0, :, -1] < 0).all(), "a step of descent raises no object"
    (of_masks,) = torch.autograd.grad(losses.focal + losses.dice, masks)
    assert of_masks[:, 0].abs().max() == 0


@pytest.mark.parametrize("tags", [(), (3,)])
def test_a_batch_without_any_mask_has_losses_of_zero_with_a_gradient(tags):
    classes, masks = answers(2)
    classes.requires_grad_(), masks.requires_grad_()
    targets = [target([], tags=tags), target([])]
    losses = set_losses(classes, masks, targets, match_layers(classes, masks, targets))
    assert losses.focal == losses.dice == 0
    assert losses.classification > 0
    (losses.classification + losses.focal + losses.dice).backward()
    assert masks.grad is not None
    assert masks.grad.abs().max() == 0


def test_with_more_targets_than_proposals_each_proposal_has_one():
    classes, masks = answers(1, queries=2)
    targets = [target([0, 1, 2, 3])]
    found = match_layers(classes, masks, targets)
    assert all(sorted(queries.tolist()) == [0, 1] for ((queries, _),) in found)
    assert set_losses(classes, masks, targets, found).focal > 0


def test_a_right_answer_costs_almost_nothing_and_a_wrong_one_much():
    one = target([3, 0, 2], seed=4)
    classes, masks = perfect(one)
    found = match_layers(classes, masks, [one])
    assert pairs(found[0][0]) == {0: 0, 1: 1, 2: 2}
    right = set_losses(classes, masks, [one], found)
    assert right.classification < 1e-4
    assert right.focal < 0.02
    wrong = set_losses(classes, -masks, [one], found)
    assert wrong.focal > 100 * right.focal
    assert wrong.dice > 0.9


def test_masks_are_divided_by_their_number_in_the_whole_batch():
    classes, masks = answers(1)
    one = target([0, 1])
    found = match_layers(classes, masks, [one])
    twice = [[layer[0], layer[0]] for layer in found]
    alone = set_losses(classes, masks, [one], found)
    doubled = set_losses(classes.repeat(1, 2, 1, 1), masks.repeat(1, 2, 1, 1, 1), [one, one], twice)
    torch.testing.assert_close(doubled.focal, alone.focal)
    torch.testing.assert_close(doubled.classification, alone.classification)


def test_unmatched_proposals_weigh_a_tenth():
    classes = torch.zeros(1, 1, 3, CLASSES + 1)
    classes[0, 0, 0, 2] = 1.0
    one = target([2])
    losses = set_losses(
        classes, torch.zeros(1, 1, 3, GRID, GRID), [one], [[(torch.tensor([0]), torch.tensor([0]))]]
    )
    matched = -classes[0, 0, 0].log_softmax(0)[2]
    unmatched = -classes[0, 0, 1].log_softmax(0)[-1]
    torch.testing.assert_close(losses.classification, (matched + 0.2 * unmatched) / 1.2)


def test_weights_decide_between_class_and_mask():
    one = target([0])
    classes, masks = perfect(one)
    classes[0, 0, 0], classes[0, 0, 1] = classes[0, 0, 1].clone(), classes[0, 0, 0].clone()
    by_mask = match_layers(classes, masks, [one], SetWeights(classification=0.0))
    by_class = match_layers(classes, masks, [one], SetWeights(focal=0.0, dice=0.0))
    assert pairs(by_mask[0][0]) == {0: 0}
    assert pairs(by_class[0][0]) == {0: 1}


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (10, 7), (32, 32)])
def test_targets_are_made_smaller_by_their_nearest_pixels(size):
    from lexiseg.losses.set_prediction import _shrink

    masks = torch.rand(3, 32, 48) > 0.5
    nearest = interpolate(masks[None].float(), size=size, mode="nearest")[0].bool()
    assert torch.equal(_shrink(masks, size), nearest.flatten(1))
