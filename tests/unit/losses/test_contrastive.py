import math

import pytest
import torch

from lexiseg.losses.contrastive import Temperature, contrastive_loss

IMAGES = torch.tensor([[1.0, 0], [0.6, 0.8]])
TEXTS = torch.tensor([[0.8, 0.6], [0.0, 1]])


@pytest.mark.parametrize(("temperature", "wanted"), [(1.0, 0.5737), (0.5, 0.5249), (0.07, 1.1913)])
def test_infonce_of_two_pairs_worked_out_by_hand(temperature, wanted):
    assert contrastive_loss(IMAGES, TEXTS, torch.tensor(temperature)).item() == pytest.approx(
        wanted, abs=6e-5
    )


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_equal_embeddings_give_the_logarithm_of_the_batch(batch):
    same = torch.nn.functional.normalize(torch.ones(batch, 5), dim=-1)
    assert contrastive_loss(same, same, torch.tensor(0.07)).item() == pytest.approx(math.log(batch), abs=1e-5)


def test_both_directions_count():
    temperature = torch.tensor(0.3)
    rows = torch.nn.functional.normalize(
        torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    forth, back = contrastive_loss(*rows, temperature), contrastive_loss(rows[1], rows[0], temperature)
    torch.testing.assert_close(forth, back)


def test_the_gradient_of_an_embedding_is_the_published_formula():
    """g(u_i) = sum_j (p_ij + q_ij - 2 [i = j]) v_j / (2 B tau): what gradient caching relies on."""
    rows = torch.nn.functional.normalize(
        torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=-1
    )
    images, texts = rows[0].requires_grad_(), rows[1]
    contrastive_loss(images, texts, torch.tensor(0.2, dtype=torch.float64)).backward()
    logits = images.detach() @ texts.T / 0.2
    both = logits.softmax(1) + logits.softmax(0) - 2 * torch.eye(6)
    torch.testing.assert_close(images.grad, both @ texts / (2 * 6 * 0.2))


@pytest.mark.parametrize(("value", "used"), [(0.9, 0.5), (1e-5, 0.001), (0.07, 0.07)])
def test_the_temperature_is_clamped_when_used(value, used):
    temperature = Temperature(value)
    assert temperature().item() == pytest.approx(used)
    contrastive_loss(IMAGES, TEXTS, temperature()).backward()
    assert temperature.value.grad is not None
    assert (temperature.value.grad.item() == 0) == (value != used)


def _plain(images: torch.Tensor, texts: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    logits, own = images @ texts.T / temperature, torch.arange(len(images))
    return (
        torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)
    ) / 2


def _pairs(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(count, 16, generator=generator)
    texts = images + 0.5 * torch.randn(count, 16, generator=generator)
    return [torch.nn.functional.normalize(rows, dim=1) for rows in (images, texts)]


def _loss_and_gradients(loss, dtype=None, count=40, temperature=0.05):
    images, texts = (rows.requires_grad_() for rows in _pairs(count))
    learned = torch.tensor(temperature, requires_grad=True)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        found = loss(images, texts, learned)
    found.backward()
    return found.detach(), images.grad, texts.grad, learned.grad


def test_more_rows_than_a_block_give_what_cross_entropy_gives():
    for found, wanted in zip(
        _loss_and_gradients(contrastive_loss, count=1100),
        _loss_and_gradients(_plain, count=1100),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_changes_neither_the_loss_nor_a_gradient(dtype):
    """Autocast used to round the forward pass only: negative losses, and gradients off by as much again."""
    for found, wanted in zip(
        _loss_and_gradients(contrastive_loss, dtype), _loss_and_gradients(_plain), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
