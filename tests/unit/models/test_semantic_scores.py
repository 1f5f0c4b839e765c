import torch

from lexiseg.models.maskformer import semantic_scores


def logit(probabilities):
    return torch.tensor(probabilities).logit()


def test_the_worked_example():
    # T4 of SimFormer's notes
    classes = torch.tensor([[[0.8, 0.1, 0.1], [0.1, 0.7, 0.2]]]).log()
    masks = logit([[[[0.9, 0.2]], [[0.3, 0.8]]]])
    scores = semantic_scores(classes, masks)
    torch.testing.assert_close(scores, torch.tensor([[[[0.75, 0.24]], [[0.30, 0.58]]]]))
    assert scores.argmax(dim=1).flatten().tolist() == [0, 1]


def test_no_object_is_not_a_class_but_takes_its_share_of_the_probability():
    masks = torch.full((1, 1, 1, 1), 20.0)
    unsure = semantic_scores(torch.tensor([[[0.0, 0.0, 8.0]]]), masks)
    sure = semantic_scores(torch.tensor([[[0.0, 0.0, -8.0]]]), masks)
    assert unsure.shape == (1, 2, 1, 1)
    assert unsure.sum() < 0.001
    torch.testing.assert_close(sure.sum(), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_images_do_not_mix():
    classes, masks = torch.randn(3, 4, 6), torch.randn(3, 4, 5, 7)
    together = semantic_scores(classes, masks)
    for image in range(3):
        alone = semantic_scores(classes[image : image + 1], masks[image : image + 1])
        torch.testing.assert_close(together[image], alone[0])
