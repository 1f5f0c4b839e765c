import contextlib
import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import grey_closing

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.engine import gradients
from lexiseg.engine.devices import Devices
from lexiseg.engine.seeding import seed_all
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.simseg.class_masks import present_classes
from lexiseg.methods.simseg.segmenter import SimSeg, seen_pixels
from lexiseg.methods.simseg.settings import MaskSettings, PoolingSettings, SimSegSettings
from lexiseg.methods.simseg.text_encoder import pool_image, pool_text, unit
from lexiseg.models.bert import Bert, BertShape, WordTokenizer
from lexiseg.models.vit import VisionTransformer, ViTShape

WORDS = ["background", "cat", "dog", "sky", "tree", "boat", "a photo of the"]
VOCABULARY = Vocabulary(names=tuple(WORDS[:6]))
MODES = ("topk", "mean", "cls")


def make(
    pooling: str = "topk", *, drop_rate: float = 0.0, padding: str = "plain", **settings: object
) -> SimSeg:
    torch.manual_seed(0)
    return SimSeg(
        VisionTransformer(ViTShape(width=24, depth=1, num_heads=2, patch=8, image_side=32)),
        24,
        Bert(WordTokenizer(WORDS), BertShape(width=24, depth=1, num_heads=2, max_tokens=12, drop_rate=drop_rate)),
        settings=InferenceSettings(
            **{
                "short_side": 48, "keep_aspect": False, "prompts": "openai7", "background": "name",
                "refine": "none", **settings,
            }
        ),
        method=SimSegSettings(
            embedding_dim=16,
            training=PoolingSettings(pooling=pooling, padding=padding),
            testing=PoolingSettings(pooling=pooling, text_topk=1, padding="masked"),
        ),
    )  # fmt: skip


def make_generous() -> SimSeg:
    """Make a model that finds some words in any image."""
    model = make().eval()
    model.method = dataclasses.replace(model.method, masks=MaskSettings(num_std=-9.0))
    return model


def batch(size: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(3)
    captions = [f"a photo of the {WORDS[1 + index % 5]} {WORDS[index % 3]}" for index in range(size)]
    return Batch(
        images=torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8),
        sources=tuple(f"image {index}" for index in range(size)),
        captions=tuple(captions),
    )


def photo(height: int = 40, width: int = 70) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("pooling", MODES)
def test_embeddings_have_unit_length_and_the_loss_is_finite(pooling):
    model = make(pooling).train()
    images, texts = model.embed(batch())
    for rows in (images, texts):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(6))
    terms = model(batch())
    assert torch.isfinite(terms.total())
    assert terms.observed["temperature"].item() == pytest.approx(0.07)


def test_gradients_reach_every_parameter_of_the_model():
    model = make().train()
    model(batch()).total().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_some_steps_lower_the_loss():
    model = make().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = model(batch(5)).total()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]


def test_the_vector_of_a_image_is_pooled_before_it_is_normalised():
    model = make().eval()
    with torch.inference_mode():
        features = model.encode_images(torch.rand(2, 3, 32, 32))
    best = features.tokens.topk(5, dim=1).values.mean(1)
    torch.testing.assert_close(features.global_token, torch.nn.functional.normalize(best, dim=-1))
    assert not torch.allclose(features.global_token, unit(features.tokens).topk(5, dim=1).values.mean(1))


def test_text_counts_and_padding_differ_between_training_and_testing():
    model = make()
    sentence = ["a cat"]
    model.eval()
    with torch.no_grad():
        tokens, attention_mask = model.texts.network(sentence, pad_to_max_length=True)
        projected = model.texts.projection(tokens)
        torch.testing.assert_close(model.texts(sentence), unit(projected[:, :4].amax(1)))
        model.train()
        torch.testing.assert_close(model.texts(sentence), unit(projected.topk(5, dim=1).values.mean(1)))
    assert attention_mask.sum() == 4


@pytest.mark.parametrize("pooling", MODES)
def test_pooling_modes_are_what_they_are_called(pooling):
    tokens = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0))
    attention_mask = torch.arange(9)[None] < torch.tensor([[4], [9]])
    settings = PoolingSettings(pooling=pooling, image_topk=3, text_topk=2, padding="masked")
    wanted = {"topk": tokens.topk(3, dim=1).values.mean(1), "mean": tokens.mean(1), "cls": tokens[:, 0] + 1}
    torch.testing.assert_close(pool_image(tokens, tokens[:, 0] + 1, settings), unit(wanted[pooling]))
    first = {
        "topk": tokens[0, :4].topk(2, dim=0).values.mean(0),
        "mean": tokens[0, :4].mean(0),
        "cls": tokens[0, 0],
    }
    torch.testing.assert_close(pool_text(tokens, attention_mask, settings)[0], unit(first[pooling]))


def test_gradient_caching_equals_the_whole_batch():
    """Embed without gradient, differentiate the contrast, embed parts again: as the engine does it."""
    for sub_batch in (1, 2, 4, 6):
        model = make().train()
        whole = batch()
        model(whole).total().backward()
        wanted = {name: value.grad.clone() for name, value in model.named_parameters()}
        model.zero_grad()
        with torch.no_grad():
            images, texts = model.embed(whole)
        images, texts = images.requires_grad_(), texts.requires_grad_()
        model.contrast(images, texts).total().backward()
        for start in range(0, 6, sub_batch):
            part = slice(start, start + sub_batch)
            u, v = model.embed(whole.part(start, min(start + sub_batch, 6)))
            ((u * images.grad[part]).sum() + (v * texts.grad[part]).sum()).backward()
        for name, value in model.named_parameters():
            torch.testing.assert_close(value.grad, wanted[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_the_engine_in_parts_gives_the_gradients_of_the_whole_batch_with_dropout(size, monkeypatch):
    """The paper's model has dropout in its text encoder: both passes over a part must drop alike."""
    found = engine_gradients(size)
    model, rows = make(drop_rate=0.3).train(), []
    for index, start in enumerate(range(0, 6, size)):
        seed_all(5, 0, 0, index)
        rows.append(model.embed(batch().part(start, start + size)))
    images, texts = (torch.cat(half) for half in zip(*rows, strict=True))
    model.contrast(images, texts).total().backward()
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name], value.grad, atol=1e-6, rtol=1e-4)

    calls = iter(range(1000))
    monkeypatch.setattr(gradients, "seed_all", lambda *words: seed_all(*words, next(calls)))
    assert any((engine_gradients(size)[name] - found[name]).abs().max() > 1e-3 for name in found)


def engine_gradients(size: int) -> dict[str, torch.Tensor]:
    model = make(drop_rate=0.3).train()
    here = Devices(device=torch.device("cpu"))
    kind = gradients.CachedContrastiveGradients(model, here, size)
    kind.add(batch(), (5, 0, 0), contextlib.nullcontext, lambda loss: loss.backward())
    return {name: value.grad for name, value in model.named_parameters()}


def test_images_without_captions_are_refused():
    with pytest.raises(InputError, match="found images without captions; expected one sentence an image"):
        make().embed(dataclasses.replace(batch(), captions=None))


def test_images_are_squashed_and_results_keep_their_size():
    model = make().eval()
    encoded = model.encode(photo(40, 70))
    assert encoded.resized_size == (48, 48)
    assert encoded.features[0].grid == (6, 6)
    assert model.segment(encoded, VOCABULARY).label_map.shape == (40, 70)


def test_the_label_map_is_made_step_by_step_as_published():
    """The definition in plain words: shortlist, maps, half of the range, painted best last."""
    model = make_generous()
    image = photo()
    result = model.segment(image, VOCABULARY)
    encoded = model.encode(image)
    names = model.embed_texts(list(VOCABULARY.names), "openai7")
    tokens = torch.nn.functional.normalize(encoded.features[0].tokens[0], dim=-1)
    scores = (names @ encoded.features[0].global_token[0]).numpy()
    present = present_classes(scores, 0, model.method.masks)
    wanted = np.zeros((40, 70), int)
    for label in sorted(present, key=lambda label: scores[label]):
        found = (tokens @ names[label]).reshape(6, 6).numpy()
        found = (found - found.min()) / (found.max() - found.min())
        mask = np.pad(np.kron(found >= 0.5, np.ones((8, 8), bool)), 12, mode="edge")
        mask = grey_closing(mask.astype(np.uint8), (7, 7))[12:-12, 12:-12]
        rows = ((np.arange(40) + 0.5) * 48 / 40).astype(int)
        columns = ((np.arange(70) + 0.5) * 48 / 70).astype(int)
        wanted[mask[np.ix_(rows, columns)] > 0] = label
    assert present
    inner = (slice(4, -4), slice(6, -6))  # borders are continued in another way here
    np.testing.assert_array_equal(result.label_map[inner], wanted[inner])
    assert set(np.unique(result.label_map)) <= {0, *present}
    assert result.score_map.max() == pytest.approx(
        max(scores[label] for label in np.unique(result.label_map))
    )


def test_nothing_survives_means_background_everywhere(monkeypatch):
    model = make().eval()
    monkeypatch.setattr("lexiseg.methods.simseg.segmenter.present_classes", lambda *_: [])
    assert (model.segment(photo(), VOCABULARY).label_map == 0).all()
    no_background = ["cat", "dog"]
    below = model.segment(photo(), no_background, background="threshold", threshold=0.5)
    assert (below.label_map == 2).all()


def test_background_has_score_0_and_takes_what_scores_less(monkeypatch):
    """Each mask is weighted by its class's score, and background by nothing."""
    model = make_generous()
    scores = np.array([-0.5, 0.3, -0.1, -0.2, -0.3, -0.4], np.float32)
    monkeypatch.setattr(model, "image_scores", lambda *_: scores)
    assert set(np.unique(model.segment(photo(), VOCABULARY).label_map)) == {0, 1}
    scores[1] = -0.3
    assert not model.segment(photo(), VOCABULARY).label_map.any()


def test_without_background_every_pixel_gets_a_word():
    model = make().eval()
    result = model.segment(photo(), ["cat", "dog", "sky"], background="none")
    assert result.vocabulary.names == ("cat", "dog", "sky")
    assert result.label_map.max() < 3


def test_crf_without_pairwise_weights_is_the_plain_mask():
    from lexiseg.ops.dense_crf import CrfSettings, DenseCrf

    maps = np.random.default_rng(0).random((2, 20, 24)).astype(np.float32)
    crf = DenseCrf(photo(20, 24), CrfSettings(gaussian_weight=0.0, bilateral_weight=0.0))
    np.testing.assert_array_equal(crf.binary(maps), maps >= 0.5)


def test_crf_masks_are_cut_from_the_image_as_the_model_saw_it():
    model = make_generous()
    result = model.segment(photo(), VOCABULARY, refine="crf")
    assert result.label_map.any()
    assert result.label_map.shape == (40, 70)
    assert seen_pixels(model.encode(photo())).shape == (48, 48, 3)


def test_refinement_by_labels_is_refused_with_what_to_use_instead():
    with pytest.raises(InputError, match=r"found refine = 'guided'; expected none .* or crf"):
        make().eval().segment(photo(), ["cat"], refine="guided")


def test_several_names_of_a_class_take_the_best_score():
    model = make().eval()
    encoded = model.encode(photo())
    best = replace(model.settings, background="none", synonyms="max")
    mean = replace(best, synonyms="mean")
    single = model.image_scores(encoded, model.name_classes(["cat", "dog", "sky"], best), best)
    synonyms = {"cat": ["dog"], "sky": []}
    found = model.image_scores(encoded, model.name_classes(synonyms, best), best)
    assert found.tolist() == [max(single[:2]), single[2]]
    found = model.image_scores(encoded, model.name_classes(synonyms, mean), mean)
    assert found[0] == pytest.approx(single[:2].mean())


def test_class_embeddings_follow_the_weights():
    model = make().eval()
    before = model.embed_texts(["cat"], "single")
    assert torch.equal(before, model.embed_texts(["cat"], "single"))
    fingerprint = model.texts.fingerprint
    with torch.no_grad():
        model.texts.projection.weight.mul_(torch.linspace(0.5, 2, 16)[:, None])
    assert not torch.allclose(before, model.embed_texts(["cat"], "single"))
    assert model.texts.fingerprint != fingerprint


def test_class_embeddings_follow_an_optimiser_with_fused_kernels():
    model = make().eval()
    before = model.embed_texts(["cat"], "single")
    fingerprint = model.texts.fingerprint
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(batch()).total().backward()
    optimiser.step()
    model.eval()
    assert not torch.allclose(before, model.embed_texts(["cat"], "single"))
    assert model.texts.fingerprint != fingerprint


def test_padding_is_a_switch_of_training_and_of_testing():
    plain, masked = make(padding="plain").train(), make(padding="masked").train()
    with torch.no_grad():
        assert not torch.allclose(plain.texts(["cat"]), masked.texts(["cat"]))
        assert torch.allclose(plain.eval().texts(["cat"]), masked.eval().texts(["cat"]))


def test_windows_share_one_list_of_classes():
    result = make().eval().segment(photo(60, 60), VOCABULARY, short_side=64, window=32)
    assert result.label_map.shape == (60, 60)


@pytest.mark.parametrize("pooling", MODES)
@pytest.mark.parametrize("padding", ["masked", "plain"])
def test_word_pieces_add_up_to_the_cosine_that_they_are_parts_of(pooling, padding):
    model = make(pooling).eval()
    model.texts._method = replace(
        model.method, testing=PoolingSettings(pooling=pooling, text_topk=2, padding=padding)
    )
    image = unit(torch.randn(16, generator=torch.Generator().manual_seed(1)))
    sentences = ["a photo of the cat", "dog"]
    with torch.inference_mode():
        cosines = model.texts(sentences) @ image
        for sentence, cosine, (pieces, parts) in zip(
            sentences, cosines, model.texts.piece_parts(sentences, image), strict=True
        ):
            assert pieces[1:-1] == sentence.split()
            if padding == "masked" or pooling != "topk":  # padding tokens have parts of their own
                assert float(parts.sum()) == pytest.approx(float(cosine), abs=1e-5)


def test_a_pixel_is_explained_by_the_image_its_masks_and_word_pieces():
    model, image = make_generous(), photo()
    result = model.segment(image, WORDS[:6])
    for point in ((0, 0), (40, 20)):
        found = model.explain(image, WORDS[:6], point)
        assert found.label == result.vocabulary.names[result.label_map[point[1], point[0]]]
        assert found.ranking[0].name == found.label
        assert {"image", "word", "token"} <= {each.kind for each in found.evidence}
        assert found.region is None or found.region[point[1], point[0]]
