"""GroupViT from words to label maps, and its training."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from einops import rearrange, reduce
from torch.nn.functional import interpolate, normalize, one_hot

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures, Segments
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.engine.devices import Devices
from lexiseg.engine.gradients import CachedContrastiveGradients, PlainGradients
from lexiseg.losses.contrastive import contrastive_loss
from lexiseg.losses.multi_label import multi_label_loss
from lexiseg.methods.groupvit.settings import GroupViTSettings, SegmentSettings
from tiny_groupvit import TINY, WORDS, make_batch, make_groupvit

NAMES = WORDS[1:7]


@pytest.fixture
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
    return np.kron(coarse, np.ones((10, 10, 1))).astype(np.uint8)


@pytest.fixture
def model(monkeypatch):
    """A model whose segments differ, as random weights do not make them: three groups of colours."""
    model = make_groupvit().eval()
    generator = torch.Generator().manual_seed(4)
    colours, mixing = torch.randn(3, 3, generator=generator) * 12, torch.randn(3, 3, 10, generator=generator)

    def encode(images):
        means = reduce(images, "b c (h p) (w q) -> b (h w) c", "mean", p=8, q=8)
        shares = ((means - 0.5) @ colours).softmax(2)
        vectors = torch.einsum("bng,bnc,gcd->bgd", shares, means, mixing)
        return PatchFeatures(
            tokens=shares @ vectors,
            grid=(images.shape[2] // 8, images.shape[3] // 8),
            stride=8,
            global_token=vectors.mean(1),
            segments=Segments(shares=shares, embeddings=vectors),
        )

    monkeypatch.setattr(model.image_encoder, "forward", encode)
    return model


@torch.no_grad()
def plain_label_map(model, image: np.ndarray, names: list[str], theta: float | None) -> np.ndarray:
    """The published inference, written out for all pixels and classes at once."""
    encoded = model.encode(image)
    height, width = encoded.resized_size
    texts = model.embed_texts(names, "single")
    num = len(names)
    total, count = torch.zeros(num + 1, height, width), torch.zeros(height, width)
    for features, window in zip(encoded.features, encoded.windows, strict=True):
        segments = normalize(features.segments.embeddings[0], dim=1) @ texts.T * model.scale
        of_image = normalize(features.global_token[0], dim=0) @ texts.T
        masked = torch.full_like(segments, -torch.inf)
        kept = of_image.topk(min(5, num)).indices
        masked[:, kept] = segments[:, kept]
        affinity = segments.softmax(1) * masked.softmax(1)
        shares = rearrange(features.segments.shares[0], "(h w) g -> 1 g h w", h=features.grid[0])
        large = interpolate(shares, (window.height, window.width), mode="bilinear")[0]
        pixels = one_hot(large.argmax(0), 3).float() @ affinity
        background = torch.zeros(window.height, window.width)
        if theta is not None:
            background = (pixels.amax(2) < min(theta, affinity.max().item())).float()
        both = torch.cat([rearrange(pixels, "y x c -> c y x"), background[None]])
        area = (slice(window.top, window.top + window.height), slice(window.left, window.left + window.width))
        total[:, area[0], area[1]] += both
        count[area] += 1
    return interpolate((total / count)[None], image.shape[:2], mode="bilinear")[0].argmax(0).numpy()


@pytest.mark.parametrize("theta", [None, 0.05, 0.2, 0.95])
@pytest.mark.parametrize("names", [NAMES[:3], NAMES], ids=["fewer than are kept", "more than are kept"])
def test_the_label_map_is_that_of_the_published_steps(model, image, names, theta):
    how = {} if theta is None else {"background": "threshold", "threshold": theta}
    found = model.segment(image, names, **how)
    assert (found.label_map == plain_label_map(model, image, names, theta)).mean() > 0.999
    assert found.score_map.min() >= 0
    assert found.score_map.max() <= 1


def test_a_higher_threshold_gives_more_background_but_never_all_of_a_window(model, image):
    def share(theta):
        found = model.segment(
            image, NAMES, background="threshold", threshold=theta, window=None, window_stride=None
        )
        return (found.label_map == len(NAMES)).mean()

    shares = [share(theta) for theta in (0.0, 0.1, 0.3, 0.95)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0 < shares[-1] < 1


def test_background_that_is_a_class_gets_the_pixels_and_is_never_a_word(model, image):
    vocabulary = Vocabulary(names=("background", *NAMES), background=0)
    first = model.segment(image, vocabulary, background="threshold", threshold=0.2)
    last = model.segment(image, NAMES, background="threshold", threshold=0.2)
    assert (first.label_map == 0).any()
    np.testing.assert_array_equal(first.label_map, np.where(last.label_map == 6, 0, last.label_map + 1))


def test_hard_maps_follow_the_choices_of_training(image):
    soft, hard = (
        make_groupvit(method=GroupViTSettings(segments=SegmentSettings(maps=maps))).eval()
        for maps in ("soft", "hard")
    )
    shares = [each.encode(image).features[0].segments.shares for each in (soft, hard)]
    assert set(shares[1].unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(shares[0], shares[1])


def test_windows_that_are_weighed_otherwise_are_refused_before_encoding(model, image):
    with pytest.raises(InputError, match="found blend = 'tent'; expected mean") as caught:
        model.segment(image, NAMES, blend="tent")
    assert "use --blend mean" in str(caught.value)
    model.segment(image, NAMES, blend="tent", window=None, window_stride=None)


def test_the_scale_is_capped_p12(model):
    assert model.scale.item() == pytest.approx(14.2857, abs=1e-4)
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    assert model.scale.item() == 100


# Training.


def test_the_loss_is_the_caption_loss_and_the_word_loss():
    model, batch = make_groupvit(), make_batch()
    torch.manual_seed(1)
    found = model.loss(batch)
    torch.manual_seed(1)
    images = model.image_encoder.pooled(batch.pixels())
    texts = [
        text for row in zip(batch.captions, batch.word_prompts, strict=True) for text in (row[0], *row[1])
    ]
    rows = model.text_encoder.text_projection(model.text_encoder.pooled(texts))
    by_image = normalize(rearrange(rows, "(b k) d -> b k d", k=4), dim=2)
    image = normalize(model.image_encoder.visual_projection(images), dim=1)
    torch.testing.assert_close(
        found.terms["caption"], contrastive_loss(image, by_image[:, 0], 1 / model.scale)
    )
    torch.testing.assert_close(
        found.terms["words"], multi_label_loss(image, by_image[:, 1:], model.word_scale())
    )
    torch.testing.assert_close(found.total(), found.terms["caption"] + found.terms["words"])


def test_equal_texts_are_encoded_once(monkeypatch):
    model, batch = make_groupvit(), make_batch()
    seen: list[list[str]] = []
    plain = model.text_encoder.pooled
    monkeypatch.setattr(model.text_encoder, "pooled", lambda texts: seen.append(list(texts)) or plain(texts))
    model.embed(batch)
    assert len(seen[0]) == len(set(seen[0])) < 4 * len(batch)


def test_without_word_loss_there_is_only_the_caption_loss():
    model = make_groupvit(method=GroupViTSettings(word_loss=0.0))
    batch = dataclasses.replace(make_batch(), word_prompts=None)
    assert set(model.loss(batch).terms) == {"caption"}
    trained = {name for group in model.parameter_groups() for name, _ in group.parameters}
    assert not any(name.startswith("word_scale") for name in trained)


@pytest.mark.parametrize(
    ("missing", "found"), [("captions", "without captions"), ("word_prompts", "without word prompts")]
)
def test_data_that_lacks_texts_is_refused(missing, found):
    batch = dataclasses.replace(make_batch(), **{missing: None})
    with pytest.raises(InputError, match=f"found images {found}"):
        make_groupvit().embed(batch)


def test_vectors_and_numbers_do_not_decay():
    decayed, others = make_groupvit().parameter_groups()
    assert decayed.decayed
    assert not others.decayed
    names = {name for name, _ in others.parameters}
    assert {"logit_scale", "word_scale.log", "image_encoder.visual_projection.1.weight"} <= names
    assert "image_encoder.vision_model.encoder.stages.0.group_token" in {
        name for name, _ in decayed.parameters
    }


def no_noise(monkeypatch):
    """Parts of a batch draw other noise than the whole: without it both ways must agree to the last digits."""
    monkeypatch.setattr("lexiseg.layers.grouping.gumbel_noise", torch.zeros_like)


def gradients(kind, batch: Batch, size: int, **changes):
    model = make_groupvit(dataclasses.replace(TINY, **changes)).double()
    here = Devices(device=torch.device("cpu"))
    losses = kind(model, here, size).add(batch, (1,), contextlib.nullcontext, lambda loss: loss.backward())
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    buffers = {name: value for name, value in model.named_buffers() if "running" in name}
    return losses, found, buffers


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_gradient_caching_is_exact_over_both_losses(monkeypatch, norm, size):
    """With batch norms in the projections too: they see the whole batch, and its statistics count once."""
    no_noise(monkeypatch)
    monkeypatch.setattr(Batch, "pixels", lambda self: self.images.double() / 255)
    batch = make_batch(8)
    losses, wanted, buffers = gradients(PlainGradients, batch, 8, projection_norm=norm)
    in_parts, found, again = gradients(CachedContrastiveGradients, batch, size, projection_norm=norm)
    torch.testing.assert_close(in_parts.total, losses.total.detach().float())
    assert set(losses.terms) == {"caption", "words"}
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-11, msg=name)
    for name, value in buffers.items():
        torch.testing.assert_close(again[name], value, msg=name)
    assert bool(buffers) == (norm == "batch")


def test_noise_and_stochastic_depth_repeat_in_both_passes_of_gradient_caching(monkeypatch):
    """The embeddings that are compared are those that gradients go back through."""
    model = make_groupvit(dataclasses.replace(TINY, drop_path=0.5))
    seen = []
    plain = model.image_encoder.pooled
    monkeypatch.setattr(model.image_encoder, "pooled", lambda pixels: seen.append(plain(pixels)) or seen[-1])
    here = Devices(device=torch.device("cpu"))
    CachedContrastiveGradients(model, here, 3).add(
        make_batch(8), (1,), contextlib.nullcontext, lambda loss: loss.backward()
    )
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    torch.testing.assert_close(first, second.detach())
    assert not torch.allclose(first, plain(make_batch(8).pixels()))
