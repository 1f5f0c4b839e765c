import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from lexiseg.core.features import PatchFeatures
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.proposal_segmenter import ProposalSegmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.models.maskformer import proposal_features

VOCABULARY = Vocabulary(names=("cat", "grass", "sky", "sea"))


class Drawn(ProposalSegmenter):
    """Proposals that depend on the image: seven masks from its pixels, with fixed classes."""

    name, stride, vocabulary = "drawn", 4, VOCABULARY
    settings = InferenceSettings(short_side=32, background="name", refine="none")

    def __init__(self, num_masks: int = 7) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.mix = nn.Conv2d(3, num_masks, 4, 4)
        self.classes = nn.Parameter(torch.randn(num_masks, 5, generator=generator))
        self.mix.weight.data = 3 * torch.randn(self.mix.weight.shape, generator=generator)

        self.num_classes, self.size_divisor = 4, 8

    def propose(self, images):
        masks = self.mix(images) * 4
        return self.classes.expand(len(images), -1, -1), masks - masks.mean(dim=(2, 3), keepdim=True)

    def encode_images(self, images):
        return proposal_features(self, images)


@pytest.fixture(scope="module")
def model():
    return Drawn().eval().requires_grad_(False)


def logit(probabilities):
    return torch.tensor(probabilities).logit()


def of_grid(model: ProposalSegmenter, classes, masks):
    class Fixed:
        stride = size_divisor = 4
        num_classes = classes.shape[-1] - 1

        def propose(self, images):
            return classes, masks

    features = proposal_features(Fixed(), torch.zeros(1, 3, *(4 * side for side in masks.shape[-2:])))
    return model.class_scores(features, torch.eye(classes.shape[-1] - 1))


def test_the_worked_example(model):
    # T4 of SimFormer's notes
    classes = torch.tensor([[[0.8, 0.1, 0.1], [0.1, 0.7, 0.2]]]).log()
    scores = of_grid(model, classes, logit([[[[0.9, 0.2]], [[0.3, 0.8]]]]))
    torch.testing.assert_close(scores, torch.tensor([[[[0.75, 0.24]], [[0.30, 0.58]]]]))


def test_no_object_is_not_a_class_but_takes_its_share_of_the_probability(model):
    masks = torch.full((1, 1, 1, 1), 20.0)
    assert of_grid(model, torch.tensor([[[0.0, 0.0, 8.0]]]), masks).sum() < 0.001
    sure = of_grid(model, torch.tensor([[[0.0, 0.0, -8.0]]]), masks)
    torch.testing.assert_close(sure.sum(), torch.tensor(1.0), atol=1e-3, rtol=0)


def images(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain(model, image, labels, size):
    """The definition: upsample logits to what the network saw, squash, sum, upsample to the image, compare."""
    encoded = model.encode(image, tiles="off")
    (features,) = encoded.features
    logits = interpolate(features.as_map(), size=encoded.resized_size, mode="bilinear")
    scores = torch.einsum("qk,qyx->kyx", features.proposals.classes[0], logits[0].sigmoid())
    whole = interpolate(scores[None], size=size, mode="bilinear")[0]
    return whole[labels]


@pytest.mark.parametrize("size", [(32, 48), (61, 45), (200, 130), (17, 90)])
def test_logits_are_upsampled_before_they_are_squashed_and_summed(model, size):
    image = images(*size)
    expected = plain(model, image, [0, 1, 2, 3], size)
    found = model.segment(image, tiles="off")
    best = expected.amax(dim=0)
    # ties are broken by rounding: compare what the chosen class scores
    chosen = expected.gather(0, torch.from_numpy(found.label_map.astype(np.int64))[None])[0]
    torch.testing.assert_close(chosen, best, atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.score_map, best.numpy(), atol=1e-5)
    # and it is not what the sum on the grid says
    early = model.class_scores(model.encode(image).features[0], torch.eye(4))
    early = interpolate(early, size=size, mode="bilinear")[0].argmax(dim=0).numpy()
    assert (early != found.label_map).mean() > 0.02


def test_bands_and_chunks_of_classes_change_nothing(model, monkeypatch):
    """Little working memory means several bands of rows and a class at a time."""
    image = images(70, 64)
    whole = model.segment(image, tiles="off")
    held = []
    upsample = type(model).upsample.fget(model)

    def noting(features, embeddings, size, rows):
        found = upsample(features, embeddings, size, rows)
        held.append(found.shape[:2])
        return found

    monkeypatch.setattr(Drawn, "upsample", property(lambda _: noting))
    monkeypatch.setattr("lexiseg.inference.predict.names_per_chunk", lambda *_: 1)
    monkeypatch.setattr(
        "lexiseg.inference.predict._row_bands", lambda *_: ((y, y + 7) for y in range(0, 70, 7))
    )
    parts = model.segment(image, tiles="off")
    np.testing.assert_array_equal(parts.label_map, whole.label_map)
    np.testing.assert_allclose(parts.score_map, whole.score_map, atol=1e-6)
    assert len(held) == 4 * 10
    assert max(names for names, _ in held) == 1
    assert max(rows for _, rows in held) <= 7 + 2


def test_the_memory_of_a_band_counts_the_masks_too():
    """A hundred masks and four classes: what is upsampled at once stays within what is allowed."""
    model, held = Drawn(100).eval().requires_grad_(False), []
    upsample = model.upsample

    def noting(features, embeddings, size, rows):
        held.append(4 * (features.tokens.shape[2] + len(embeddings)) * (rows[1] - rows[0]) * size[1])
        return upsample(features, embeddings, size, rows)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Drawn, "upsample", property(lambda _: noting))
        model.segment(images(300, 400), short_side=300, memory_mb=2)
    assert len(held) > 5
    assert max(held) < 2 * 2**20


def test_windows_are_blended_after_their_sums(model):
    image = images(64, 64)
    found = model.segment(image, short_side=64, window=32, window_stride=32)
    tiles = [model.segment(image[y : y + 32, x : x + 32]).label_map for y in (0, 32) for x in (0, 32)]
    expected = np.block([[tiles[0], tiles[1]], [tiles[2], tiles[3]]])
    assert (found.label_map == expected).mean() > 0.999


def test_what_is_decided_again_is_what_the_store_keeps(model):
    by_name = model.settings
    assert model.redecisions(by_name) == frozenset()
    by_threshold = model.settings.changed(background="threshold", threshold=0.3)
    assert model.redecisions(by_threshold) == {"threshold", "drop_background"}
    names = model.name_classes(VOCABULARY, by_name)
    assert model.decide(model.encode(images(32, 32)), names, by_name).grid_scores is None


def test_features_of_a_batch_come_apart(model):
    batch = model.encode_images(torch.rand(2, 3, 32, 32))
    assert isinstance(batch, PatchFeatures)
    together = model.segment([images(32, 32), images(32, 40), images(32, 32)])
    alone = model.segment(images(32, 32))
    np.testing.assert_array_equal(together[2].label_map, alone.label_map)
