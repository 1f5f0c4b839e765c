"""Gradients in parts equal those of the whole batch."""

from contextlib import nullcontext

import pytest
import torch

from lexiseg.engine import gradients as gradients_module
from lexiseg.engine.devices import Devices
from lexiseg.engine.gradients import CachedContrastiveGradients, PlainGradients, build_gradients
from lexiseg.engine.seeding import seed_all
from toy_trainable import ToyContrast, ToyCounts, ToySettings, make_batch

HERE = Devices(device=torch.device("cpu"))
BATCH = make_batch(0, 0, 12)


def find(kind, model, size):
    model.zero_grad()
    model.train()
    losses = kind(model, HERE, size).add(BATCH, (7, 3, 0), nullcontext, lambda loss: loss.backward())
    return losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def contrast():
    seed_all(1)
    return ToyContrast()


@pytest.mark.parametrize("size", [1, 5, 6, 11])
def test_decoupled_accumulation_gives_the_gradients_of_the_full_batch(contrast, size):
    losses, whole = find(PlainGradients, contrast, 12)
    in_parts, parts = find(CachedContrastiveGradients, contrast, size)
    assert parts.keys() == whole.keys() == {name for name, _ in contrast.named_parameters()}
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=0, atol=1e-6)
    torch.testing.assert_close(in_parts.total, losses.total)
    torch.testing.assert_close(in_parts.terms["text"], losses.terms["text"])
    torch.testing.assert_close(in_parts.observed["temperature"], losses.observed["temperature"])


def with_dropout() -> ToyContrast:
    seed_all(1)
    return ToyContrast(ToySettings(dropout=0.5))


def surrogate_of(model, size):
    """The gradients of the full batch whose parts were embedded with the seeds of the parts."""
    model.zero_grad()
    model.train()
    rows = []
    for index, start in enumerate(range(0, 12, size)):
        seed_all(7, 3, 0, index)
        rows.append(model.embed(BATCH.part(start, min(start + size, 12))))
    images, texts = (torch.cat(half) for half in zip(*rows, strict=True))
    model.contrast(images, texts).total().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_holds_with_dropout_and_fails_when_the_two_passes_drop_differently(monkeypatch):
    model = with_dropout()
    expected = surrogate_of(model, 5)
    _, found = find(CachedContrastiveGradients, model, 5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-6)

    calls = iter(range(1000))
    monkeypatch.setattr(gradients_module, "seed_all", lambda *words: seed_all(*words, next(calls)))
    _, wrong = find(CachedContrastiveGradients, model, 5)
    assert (wrong["stem.weight"] - expected["stem.weight"]).abs().max() > 1e-3


def test_other_losses_are_averaged_over_parts_by_their_size():
    seed_all(1)
    model = ToyCounts()
    with torch.no_grad():
        expected = sum(
            model.loss(BATCH.part(start, stop)).total() * (stop - start) / 12
            for start, stop in [(0, 5), (5, 10), (10, 12)]
        )
    losses, found = find(PlainGradients, model, 5)
    torch.testing.assert_close(losses.total, expected)
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_only_a_contrastive_model_that_does_not_fit_is_embedded_twice():
    assert isinstance(build_gradients(ToyContrast(), HERE, 4, 12), CachedContrastiveGradients)
    assert isinstance(build_gradients(ToyContrast(), HERE, 12, 12), PlainGradients)
    assert isinstance(build_gradients(ToyContrast(), HERE, None, 12), PlainGradients)
    assert isinstance(build_gradients(ToyCounts(), HERE, 4, 12), PlainGradients)


def test_low_precision_in_parts_keeps_every_gradient(contrast):
    """A context of mixed precision that both passes shared would lose the gradients of what it had cast."""
    losses = CachedContrastiveGradients(contrast, HERE, 5).add(
        BATCH, (0,), lambda: torch.autocast("cpu", torch.bfloat16), lambda loss: loss.backward()
    )
    assert losses.total.dtype == torch.float32
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in contrast.parameters())
