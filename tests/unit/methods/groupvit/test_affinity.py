"""P10 of GroupViT: which class a segment takes, and which segments are background."""

import pytest
import torch

from lexiseg.methods.groupvit.affinity import class_affinity, kept_up_to, name_similarities

SEGMENTS = torch.tensor([[0.30, 0.25, 0.10], [0.12, 0.20, 0.28]])
KEEPS_THE_FIRST_TWO = torch.tensor([0.9, 0.8, 0.1])
SCALE = torch.tensor(20.0)
PRODUCT = torch.tensor([[0.5274, 0.0714, 0], [0.0055, 0.1352, 0]])


def test_the_worked_example_p10():
    logits = SEGMENTS * SCALE
    torch.testing.assert_close(
        logits.softmax(1),
        torch.tensor([[0.7214, 0.2654, 0.0132], [0.0328, 0.1625, 0.8047]]),
        atol=6e-5,
        rtol=0,
    )
    found = class_affinity(SEGMENTS, KEEPS_THE_FIRST_TWO, SCALE, 2)
    torch.testing.assert_close(found, PRODUCT, atol=6e-5, rtol=0)
    assert not found[:, 2].any()


def test_the_best_segment_is_never_background_and_the_other_is_p10():
    """At 0.95 the threshold is at most 0.5274: segment 1 is not below it, segment 2 is."""
    kept = kept_up_to(class_affinity(SEGMENTS, KEEPS_THE_FIRST_TWO, SCALE, 2))
    torch.testing.assert_close(kept, torch.tensor([1.0, 0.1352]), atol=6e-5, rtol=0)
    assert (kept < 0.95).tolist() == [False, True]
    assert (kept < 0.1).tolist() == [False, False]


def test_without_the_filter_the_second_segment_is_the_third_class_p10():
    assert class_affinity(SEGMENTS, KEEPS_THE_FIRST_TWO, SCALE, 5)[1].argmax().item() == 2


@pytest.mark.parametrize("num_classes", [1, 3, 5, 9])
def test_no_more_classes_are_kept_than_there_are(num_classes):
    generator = torch.Generator().manual_seed(0)
    segments, image = (
        torch.randn(4, num_classes, generator=generator),
        torch.randn(num_classes, generator=generator),
    )
    found = class_affinity(segments, image, SCALE, 5)
    kept = image.topk(min(5, num_classes)).indices.sort().values
    assert torch.equal((found > 0).any(0).nonzero()[:, 0], kept)
    if num_classes == 1:
        torch.testing.assert_close(found, torch.ones(4, 1))


def test_a_batch_is_what_each_image_is_alone():
    generator = torch.Generator().manual_seed(1)
    segments, image = torch.randn(2, 4, 7, generator=generator), torch.randn(2, 7, generator=generator)
    both = class_affinity(segments, image, SCALE, 3)
    for index in range(2):
        torch.testing.assert_close(both[index], class_affinity(segments[index], image[index], SCALE, 3))


@pytest.mark.parametrize(("synonyms", "wanted"), [("max", [1.0, 0.8]), ("mean", [0.5, 0.8])])
def test_names_of_a_class_are_brought_together_before_classes_compete(synonyms, wanted):
    names = torch.tensor([[1.0, 0], [0, 1], [0.8, 0.6]])
    found = name_similarities(torch.tensor([[3.0, 0]]), names, [2, 1], synonyms)
    torch.testing.assert_close(found, torch.tensor([wanted]))
