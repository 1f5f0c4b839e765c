import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.data.class_lists import imagenet_classes
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.methods.conse.segmenter import ConSE
from lexiseg.methods.conse.settings import PLAIN, ConSESettings
from lexiseg.models.efficientnet_lite import EfficientNetLite0
from lexiseg.models.name_head import NameHead
from lexiseg.ops.scene_prior import SCENE_NAMES

NAMES = [known.name for known in imagenet_classes()]
TABBY, JERSEY = NAMES.index("tabby cat"), NAMES.index("T-shirt")


class RedIsCat(ImageEncoder):
    """Sees a tabby cat where it is red, a T-shirt where it is green, and warnings where it is neither."""

    stride = 32

    def forward(self, images: Tensor) -> PatchFeatures:
        colours = avg_pool2d(images, 32)
        logits = torch.zeros(len(images), *colours.shape[2:], 1000)
        logits[..., TABBY] = 40 * (colours[:, 0] - colours[:, 1])
        logits[..., JERSEY] = 40 * (colours[:, 1] - colours[:, 0])
        tokens = logits.flatten(1, 2)
        return PatchFeatures(
            tokens=tokens, grid=tuple(colours.shape[2:]), stride=32, global_token=tokens.mean(1)
        )


class HashedTexts(TextEncoder):
    """Every text points its own way; "a photo of a cat." lies half-way to "a photo of a tabby cat."."""

    fingerprint = "hashed"

    def forward(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> Tensor:
        if "tabby" not in text and "cat" in text:
            return normalize(self._embed(text.replace("cat", "tabby cat")) + self._own(text), dim=0)
        return self._own(text)

    @staticmethod
    def _own(text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
        return normalize(torch.randn(256, generator=torch.Generator().manual_seed(seed)), dim=0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path))


def build(method: ConSESettings, smoother: ImageEncoder | None = None) -> ConSE:
    return ConSE(
        RedIsCat(),
        HashedTexts(),
        name="toy",
        settings=InferenceSettings(short_side=64, prompts="single", refine="none"),
        method=replace(method, head="none"),
        fingerprints={"image_weights": "0"},
        smoother=smoother,
    )


def photo(left: tuple[float, float, float], right: tuple[float, float, float]) -> Tensor:
    image = torch.empty(1, 3, 64, 128)
    image[..., :64] = torch.tensor(left).reshape(3, 1, 1)
    image[..., 64:] = torch.tensor(right).reshape(3, 1, 1)
    return image


RED, GREEN, BLUE, GREY = (0.9, 0.1, 0.1), (0.1, 0.9, 0.1), (0.3, 0.5, 0.95), (0.5, 0.5, 0.5)


def best_words(model: ConSE, image: Tensor, words: list[str]) -> list[list[str]]:
    scores = model.class_scores(model.encode_images(image), model.embed_texts(words, "single"))
    return [[words[k] for k in row] for row in scores[0].argmax(0).tolist()]


def test_the_plain_recipe_is_the_cosine_of_the_weighted_mean_embedding():
    """The issue's recipe, written out once more: softmax, top ten, mean embedding, cosine."""
    model = build(PLAIN)
    images, words = torch.rand(2, 3, 64, 96), ["cat", "sky", "T-shirt", "horse", "road"]
    features = model.encode_images(images)
    labels = model.class_scores(features, model.embed_texts(words, "single")).argmax(1)

    read = model.image_encoder(images)
    assert read.global_token is not None
    posterior = (read.tokens + read.global_token[:, None]).softmax(-1)
    top, index = posterior.topk(10, dim=-1)
    known = embed_names(model.text_encoder, NAMES, "single")
    mean = torch.einsum("b n t, b n t d -> b n d", top / top.sum(-1, keepdim=True), known[index])
    cosines = normalize(mean, dim=-1) @ embed_names(model.text_encoder, words, "single").T
    assert torch.equal(labels.flatten(1), cosines.argmax(-1))


def test_tokens_are_posterior_scene_and_person_on_the_stride():
    model = build(ConSESettings())
    features = model.encode_images(torch.rand(2, 3, 64, 112))
    assert features.grid == (4, 7)
    assert features.stride == model.stride == 16
    assert features.tokens.shape == (2, 28, 1000 + len(SCENE_NAMES) + 1)
    assert features.tokens.min() >= 0
    assert features.tokens[..., :1000].sum(-1).max() <= 1 + 1e-5


def test_a_word_is_found_by_the_imagenet_name_it_resembles():
    found = best_words(build(ConSESettings()), photo(RED, GREEN), ["cat", "T-shirt"])
    assert [row[0] for row in found] == ["cat"] * 4
    assert [row[-1] for row in found] == ["T-shirt"] * 4


def test_where_the_classifier_doubts_colour_and_height_name_the_stuff():
    found = best_words(build(ConSESettings(image_weight=0.0)), photo(RED, BLUE), ["cat", "sky", "road"])
    assert found[0][0] == "cat"
    assert found[0][-1] == "sky"


def test_without_the_scene_prior_nothing_but_imagenet_speaks():
    model = build(ConSESettings(image_weight=0.0, scene_weight=0.0, person_weight=0.0))
    features = model.encode_images(photo(RED, BLUE))
    assert features.tokens[..., 1000:].abs().max() == 0
    torch.testing.assert_close(features.tokens[..., :1000].sum(-1), torch.ones(1, 32))


def test_worn_things_count_for_person_and_only_by_person_weight():
    image, words = photo(GREEN, RED), ["person", "cat"]
    assert best_words(build(ConSESettings(image_weight=0.0)), image, words)[0][0] == "person"
    model = build(ConSESettings(image_weight=0.0, person_weight=0.0))
    scores = model.class_scores(model.encode_images(image), model.embed_texts(words, "single"))
    assert scores[0, 0].max() < 1e-3


def test_background_matches_every_kind_of_stuff_and_no_other_word_does():
    embeddings = build(ConSESettings()).embed_texts(["Background", "cat", "sky"], "single")
    scene = embeddings[:, 1000 : 1000 + len(SCENE_NAMES)]
    assert scene[0].tolist() == [1.0] * len(SCENE_NAMES)
    assert scene[1].max() == 0
    assert scene[2].tolist() == pytest.approx([float(name == "sky") for name in SCENE_NAMES], abs=1e-5)


def test_matches_start_at_min_similarity_and_end_at_one():
    loose = build(ConSESettings(min_similarity=-1.0, use_kinds=False))
    strict = build(ConSESettings(min_similarity=0.9, use_kinds=False))
    words = ["cat", "tabby cat"]
    cosine = float(
        embed_names(HashedTexts(), words, "single")[0] @ embed_names(HashedTexts(), words, "single")[1]
    )
    assert float(loose.embed_texts(words, "single")[0, TABBY]) == pytest.approx((cosine + 1) / 2, abs=1e-5)
    assert float(strict.embed_texts(words, "single")[0, TABBY]) == 0
    assert float(strict.embed_texts(words, "single")[1, TABBY]) == pytest.approx(1, abs=1e-5)


def test_the_image_helps_to_read_its_parts():
    image = photo(GREY, RED)  # the left half tells nothing
    alone = build(ConSESettings(image_weight=0.0, scene_weight=0.0)).encode_images(image).tokens
    helped = build(ConSESettings(image_weight=1.0, scene_weight=0.0)).encode_images(image).tokens
    assert helped[0, 0, TABBY] > 10 * alone[0, 0, TABBY]


def test_a_short_list_keeps_that_many_names_and_all_of_the_mass():
    tokens = build(replace(PLAIN, num_names=3)).encode_images(torch.rand(1, 3, 64, 64)).tokens[..., :1000]
    assert (tokens > 0).sum(-1).max() == 3
    torch.testing.assert_close(tokens.sum(-1), torch.ones(1, 4))


def test_tiny_images_work():
    scores = build(ConSESettings())
    features = scores.encode_images(torch.rand(1, 3, 16, 16))
    assert features.grid == (1, 1)
    assert scores.class_scores(features, scores.embed_texts(["cat"], "single")).shape == (1, 1, 1, 1)


def test_settings_of_the_method_and_fingerprints_are_recorded():
    recorded = build(ConSESettings(temperature=3.0)).method_settings
    assert recorded["temperature"] == 3.0
    assert recorded["image_weights"] == "0"


def test_a_name_matches_by_its_kind_where_its_own_text_says_nothing():
    beagle = NAMES.index("Beagle")
    assert float(build(ConSESettings()).embed_texts(["dog"], "single")[0, beagle]) == pytest.approx(
        1, abs=1e-5
    )
    assert float(build(ConSESettings(use_kinds=False)).embed_texts(["dog"], "single")[0, beagle]) == 0


def test_doubt_between_names_of_one_kind_is_no_doubt():
    model = build(ConSESettings(sizes=(1.0,), image_weight=0.0, temperature=1.0, stride=32))
    dogs, things = (
        [NAMES.index("Beagle"), NAMES.index("pug")],
        [NAMES.index("Beagle"), NAMES.index("balloon")],
    )
    mass = []
    for pair in (dogs, things):
        logits = torch.zeros(1, 4, 1000)
        logits[..., pair] = 30.0
        model.image_encoder.forward = lambda _, logits=logits: PatchFeatures(
            tokens=logits, grid=(2, 2), stride=32, global_token=logits.mean(1)
        )
        mass.append(float(model.encode_images(torch.rand(1, 3, 64, 64)).tokens[0, 0, :1000].sum()))
    assert mass == pytest.approx([1.0, 0.5], abs=1e-3)


def test_words_compared_in_blocks_equal_words_compared_at_once(monkeypatch):
    model, words = build(ConSESettings()), ["cat", "sky", "background", "road", "T-shirt"]
    at_once = model.embed_texts(words, "single")
    monkeypatch.setattr("lexiseg.methods.conse.segmenter.WORDS_PER_BLOCK", 2)
    torch.testing.assert_close(model.embed_texts(words, "single"), at_once)


HEAD_NAMES = ["tabby cat", "kerb", "lamp post"]


def with_head(method: ConSESettings, num_things: int = 1) -> ConSE:
    """A network with weights of no meaning, and a head that sees nothing but its second name."""
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    network.fold_normalisations()
    weight = torch.zeros(112 + 1280 + 5 + 4, len(HEAD_NAMES))
    weight[-1, 1] = 1.0  # by the constant
    head = NameHead(HEAD_NAMES, weight, num_things=num_things, temperature=0.1, none_score=0.4)
    return ConSE(
        network,
        HashedTexts(),
        name="toy",
        settings=InferenceSettings(short_side=64, prompts="single", refine="none"),
        method=method,
        fingerprints={},
        head=None if method.head == "none" else head,
    )


def without(model: ConSE) -> ConSE:
    """The same networks without the head; reads the features of both."""
    parts = (model.image_encoder, model.text_encoder)
    about = {"name": "toy", "settings": model.settings, "fingerprints": {}}
    return ConSE(*parts, **about, method=replace(model.method, head="none"))


@pytest.mark.parametrize("sizes", [(1.0, 9 / 14), (1.0,)])
def test_words_that_the_head_has_no_name_for_keep_their_scores_and_the_best_of_the_others_keeps_its_own(
    sizes,
):
    images, words = torch.rand(1, 3, 64, 96), ["cat", "kerb", "lamp post", "horse", "background"]
    scores = []
    for model in (
        with_head(ConSESettings(sizes=sizes, head="none")),
        with_head(ConSESettings(sizes=sizes, head="masks")),
    ):
        features = model.encode_images(images)
        scores.append(model.class_scores(features, model.embed_texts(words, "single")))
        scores.append(features.tokens[..., :1010])
        scores.append(features.global_token)
    plain, tokens, whole, shared, tokens_with_head, whole_with_head = scores
    assert torch.equal(tokens, tokens_with_head)
    assert torch.equal(whole, whole_with_head[:, :1010])
    for unknown in (0, 3, 4):
        torch.testing.assert_close(plain[:, unknown], shared[:, unknown], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shared[:, 1:3].amax(1), plain[:, 1:3].amax(1), rtol=1e-5, atol=1e-9)
    assert (shared[:, 1] >= shared[:, 2]).all()  # kerb, which the head sees, before lamp post


def test_one_known_word_has_nobody_to_share_with():
    images, words = torch.rand(1, 3, 64, 96), ["cat", "kerb", "horse"]
    plain, shared = (
        model.class_scores(model.encode_images(images), model.embed_texts(words, "single"))
        for model in (with_head(ConSESettings(head="none")), with_head(ConSESettings(head="masks")))
    )
    torch.testing.assert_close(plain, shared, rtol=1e-5, atol=1e-6)


def test_a_name_of_the_head_speaks_for_the_word_that_it_matches_best():
    model = with_head(ConSESettings(min_head_similarity=0.5))
    images, words = torch.rand(1, 3, 64, 96), ["cat", "tabby cat", "kerb"]  # "cat" is at 0.71 to "tabby cat"
    features = model.encode_images(images)
    plain, shared = (
        each.class_scores(features, model.embed_texts(words, "single")) for each in (without(model), model)
    )
    torch.testing.assert_close(shared[:, 0], plain[:, 0])
    assert not torch.allclose(shared[:, 1], plain[:, 1])


def test_between_things_the_order_of_the_scores_stays_where_the_head_shares_nothing_itself():
    images, words = torch.rand(1, 3, 64, 96), ["tabby cat", "kerb"]
    orders = []
    for share in (0.0, 1.0):
        model = with_head(ConSESettings(head_thing_share=share), num_things=2)
        features, embeddings = model.encode_images(images), model.embed_texts(words, "single")
        plain, shared = (each.class_scores(features, embeddings) for each in (without(model), model))
        orders.append(torch.equal(plain.argmax(1), shared.argmax(1)))
    assert orders == [True, False]


def test_a_word_that_means_stuff_too_is_left_to_the_head():
    images = torch.rand(1, 3, 64, 96)
    model = with_head(ConSESettings(head_thing_share=0.0), num_things=2)
    features, embeddings = model.encode_images(images), model.embed_texts(["tabby cat", "kerb"], "single")
    plain = without(model).class_scores(features, embeddings)
    assert torch.equal(plain.argmax(1), model.class_scores(features, embeddings).argmax(1))
    embeddings[1, -1] = 0.5  # "kerb" as a thing, and a little as stuff
    assert model.class_scores(features, embeddings).argmax(1).eq(1).all()


@pytest.mark.parametrize(("least", "hears"), [(0.0, False), (0.15, True)])
def test_background_hears_of_stuff_that_no_word_asks_for(least, hears):
    model = with_head(ConSESettings(head_background=least))
    embeddings = model.embed_texts(["cat", "background"], "single")
    assert embeddings[1, 1010:].tolist() == pytest.approx([0, least, least])  # the first name is a thing
    features = model.encode_images(torch.rand(1, 3, 64, 96))
    tabby = model.embed_texts(["tabby cat", "background"], "single")
    plain, shared = (each.class_scores(features, tabby) for each in (without(model), model))
    assert torch.allclose(plain, shared) == (not hears)
    torch.testing.assert_close(plain.amax(1), shared.amax(1))


def test_smoothing_averages_over_patches_that_look_alike():
    class Colours(ImageEncoder):
        stride = 14

        def forward(self, images: Tensor) -> PatchFeatures:
            tokens = avg_pool2d(images, 14).flatten(2).transpose(1, 2) - 0.5
            return PatchFeatures(tokens=tokens, grid=(4, 8), stride=14, global_token=tokens.mean(1))

    image = photo(RED, GREEN)
    image[:, :, 16:32, 16:32] += 0.05  # one patch is a little otherwise
    method = ConSESettings(smooth="dinov2", head="none", image_weight=0.0)
    plain = build(replace(method, smooth="none")).encode_images(image).tokens
    smooth = build(method, Colours()).encode_images(image).tokens
    assert smooth.shape == plain.shape
    left = [row * 8 + column for row in range(4) for column in range(4)]
    assert smooth[0, left].std(dim=0).sum() < 0.1 * plain[0, left].std(dim=0).sum()
    torch.testing.assert_close(smooth[0, left].mean(0), plain[0, left].mean(0), rtol=1e-2, atol=1e-3)


WHOLE, UNKNOWN = torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.full((1, 4), torch.nan)


def test_a_window_is_as_high_as_it_lies_in_its_image_and_without_one_it_has_no_top():
    model = build(ConSESettings(image_weight=0.0))
    image = photo(RED, BLUE)
    whole = model.encode_images(image)
    window = model.encode_windows(image, WHOLE)
    torch.testing.assert_close(window.tokens, whole.tokens)
    torch.testing.assert_close(window.global_token, whole.global_token)
    lower = model.encode_windows(image[:, :, 32:], torch.tensor([[0.5, 1.0, 0.0, 1.0]])).tokens
    torch.testing.assert_close(lower, whole.tokens[:, 16:])
    rows = model.encode_windows(image, UNKNOWN).tokens.reshape(4, 8, -1)
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))


def test_the_measure_of_absent_words_holds_with_any_head_and_not_with_smoothing():
    alone, headed = build(ConSESettings(head="none")), with_head(ConSESettings())
    assert set(alone.scale_settings) - {"image_weights"} == set(headed.scale_settings)
    smoothed = build(ConSESettings(head="none", smooth="dinov2"), RedIsCat())
    assert smoothed.scale_settings["smooth"] == "dinov2"
    assert not any("head" in name or "smooth" in name for name in headed.scale_settings)


def test_sentences_and_whole_images_are_compared_without_the_head():
    plain, with_it = with_head(ConSESettings(head="none")), with_head(ConSESettings(head="masks"))
    found = with_it.embed_sentences(["cat", "kerb"])
    assert torch.equal(plain.embed_sentences(["cat", "kerb"]), found[:, :1010])
    assert found[:, 1010:].eq(0).all()


def test_a_word_that_is_only_a_little_like_a_known_name_hears_nothing_of_the_head():
    embeddings = {
        least: with_head(ConSESettings(head="masks", min_head_similarity=least)).embed_texts(
            ["cat"], "single"
        )
        for least in (0.5, 0.75)
    }
    assert embeddings[0.5][0, 1010] > 0.2  # "cat" is at 0.71 to "tabby cat"
    assert embeddings[0.75][0, 1010] == 0


def test_the_weight_of_the_head_scales_its_evidence():
    images = torch.rand(1, 3, 64, 64)
    once, twice = (
        with_head(ConSESettings(head="masks", head_weight=weight)).encode_images(images).tokens[..., 1010:]
        for weight in (1.0, 2.0)
    )
    torch.testing.assert_close(twice, 2 * once)
