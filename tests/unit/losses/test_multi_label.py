"""P8 and P12 of GroupViT: several sentences an image."""

import math

import pytest
import torch
from einops import rearrange
from torch.nn.functional import normalize

from lexiseg.losses.contrastive import contrastive_loss
from lexiseg.losses.multi_label import LogitScale, multi_label_loss

IMAGES = torch.tensor([[1.0, 0], [0, 1]])
WORDS = torch.tensor([[[1.0, 0], [0.6, 0.8]], [[0, 1], [0.8, 0.6]]])
SCALE = torch.tensor(2.0)


def plain(images, words, scale, positives="mean_of_logs"):
    """Both sides, written out with softmaxes of the whole matrix; gives the two sides apart."""
    num_images, per_image = words.shape[:2]
    logits = images @ rearrange(words, "b k d -> (b k) d").T * scale
    own = torch.arange(num_images).repeat_interleave(per_image)
    rows = logits.log_softmax(1)[own, torch.arange(len(own))].reshape(num_images, per_image)
    columns = logits.log_softmax(0)[own, torch.arange(len(own))]
    image_side = rows.mean(1) if positives == "mean_of_logs" else rows.logsumexp(1)
    return -image_side.mean(), -columns.mean()


def test_the_worked_example_p8():
    image_side, text_side = plain(IMAGES, WORDS, SCALE)
    assert image_side.item() == pytest.approx(1.2131, abs=6e-5)
    assert text_side.item() == pytest.approx(0.5200, abs=6e-5)
    assert multi_label_loss(IMAGES, WORDS, SCALE).item() == pytest.approx(0.8666, abs=6e-5)
    summed = multi_label_loss(IMAGES, WORDS, SCALE, "log_of_sum").item()
    assert 2 * summed - text_side.item() == pytest.approx(0.4420, abs=6e-5)


def rows(num_images, per_image, dtype=torch.float64):
    generator = torch.Generator().manual_seed(num_images)
    images = torch.randn(num_images, 6, generator=generator, dtype=dtype)
    words = images[:, None] + torch.randn(num_images, per_image, 6, generator=generator, dtype=dtype)
    return normalize(images, dim=-1), normalize(words, dim=-1)


@pytest.mark.parametrize("positives", ["mean_of_logs", "log_of_sum"])
def test_one_sentence_an_image_is_the_caption_loss_p8(positives):
    images, words = rows(9, 1)
    scale = torch.tensor(7.0, dtype=torch.float64)
    torch.testing.assert_close(
        multi_label_loss(images, words, scale, positives), contrastive_loss(images, words[:, 0], 1 / scale)
    )


def test_the_mean_of_logarithms_is_the_log_of_the_sum_and_log_k_at_least_p8():
    for seed in range(20):
        images, words = rows(5 + seed, 3)
        difference = 2 * (
            multi_label_loss(images, words, torch.tensor(5.0))
            - multi_label_loss(images, words, torch.tensor(5.0), "log_of_sum")
        )
        assert difference.item() >= math.log(3) - 1e-6
    same = words[:, :1].expand(-1, 3, -1)  # equally likely positives: equality
    difference = 2 * (
        multi_label_loss(images, same, torch.tensor(5.0))
        - multi_label_loss(images, same, torch.tensor(5.0), "log_of_sum")
    )
    assert difference.item() == pytest.approx(math.log(3), abs=1e-6)


def test_the_image_side_is_never_below_log_k_p8():
    perfect = torch.eye(4)[:, None].expand(-1, 3, -1)
    image_side, text_side = plain(torch.eye(4), perfect, torch.tensor(100.0))
    assert image_side.item() == pytest.approx(math.log(3), abs=1e-6)
    assert text_side.item() == pytest.approx(0, abs=1e-6)
    assert multi_label_loss(torch.eye(4), perfect, torch.tensor(100.0)).item() == pytest.approx(
        math.log(3) / 2, abs=1e-5
    )


@pytest.mark.parametrize("positives", ["mean_of_logs", "log_of_sum"])
@pytest.mark.parametrize("num_images", [3, 600])  # one block, and several of which the last is short
def test_value_and_gradients_are_those_of_the_softmaxes(num_images, positives):
    found, wanted = [], []
    for loss, kept in ((multi_label_loss, found), (lambda *a: sum(plain(*a)) / 2, wanted)):
        images, words = (part.requires_grad_() for part in rows(num_images, 3))
        scale = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
        value = loss(images, words, scale, positives)
        (3 * value).backward()
        kept += [value.detach(), images.grad, words.grad, scale.grad]
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_changes_nothing(dtype):
    images, words = rows(20, 3, torch.float32)
    wanted = multi_label_loss(images, words, torch.tensor(50.0))
    with torch.autocast("cpu", dtype):
        assert torch.equal(multi_label_loss(images, words, torch.tensor(50.0)), wanted)


def test_the_scale_starts_at_one_over_0_07_and_never_exceeds_100_p12():
    assert LogitScale()().item() == pytest.approx(14.2857, abs=1e-4)
    scale = LogitScale(50.0)
    with torch.no_grad():
        scale.log.fill_(8.0)
    assert scale().item() == 100
    scale().backward()
    assert scale.log.grad is not None
    assert scale.log.grad.item() == 0
