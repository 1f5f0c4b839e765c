"""ProxyCLIP, Trident and CorrCLIP over tiny random checkpoints, on grids that are not square."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.methods.borrowed_attention.corrclip import CorrClip
from lexiseg.methods.borrowed_attention.prompt_refinement import find_pieces, redraw
from lexiseg.methods.borrowed_attention.proxyclip import ProxyClip
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.methods.borrowed_attention.trident import Trident, splice
from lexiseg.models.clip import load_clip
from lexiseg.models.prompted_masks import ImageEmbeddings
from lexiseg.models.sam import load_sam
from lexiseg.ops.dense_heads import dense_tokens
from lexiseg.ops.sliding_window import Window
from lexiseg.recipes.dense_similarity import DenseSettings, build_dense_similarity
from tiny_checkpoints import TRANSFORMER, randomised, save_tiny_clip, save_tiny_siglip
from tiny_vision_checkpoints import (
    save_tiny_dinov2,
    save_tiny_sam,
    save_tiny_sam2,
    write_preprocessor,
)

VISION = ("dino", "dinov2", "registers", "sam")
WORDS = ["cat", "dog", "sky"]


def save_tiny_dino(folder):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(**TRANSFORMER, image_size=32, patch_size=4)
    randomised(ViTModel(config, add_pooling_layer=False)).save_pretrained(folder)
    write_preprocessor(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("borrowed")
    return {
        "clip": save_tiny_clip(home / "clip"),
        "siglip": save_tiny_siglip(home / "siglip"),
        "dino": save_tiny_dino(home / "dino"),
        "dinov2": save_tiny_dinov2(home / "dinov2"),
        "registers": save_tiny_dinov2(home / "registers", registers=True, patch=14),
        "sam": save_tiny_sam(home / "sam"),
        "sam2": save_tiny_sam2(home / "sam2"),
    }


def build(folders, head, vision="dino", proposer="none", sam="sam", **more):
    places = {"vision": vision, "proposer": proposer, "sam": sam}
    places = {name: str(folders.get(value, value)) for name, value in places.items()}
    beside = BorrowedAttentionSettings(**places, **more)
    return build_dense_similarity(str(folders["clip"]), DenseSettings(head=head, beside=beside))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


SIZE = {"short_side": 48, "window": 32, "window_stride": 16, "refine": "none", "prompts": "bare"}


@pytest.mark.exhaustive("head", "vision")
@pytest.mark.parametrize("head", ["proxyclip", "trident", "corrclip"])
@pytest.mark.parametrize("vision", VISION)
def test_every_network_beside_clip_gives_finite_tokens_alone_as_in_a_batch_and_a_record(
    head, vision, folders, image
):
    check_tokens(build(folders, head, vision, "sam2" if head == "corrclip" else "none"), head, vision, image)


@pytest.mark.exhaustive("vision", "proposer")
@pytest.mark.parametrize("vision", ["none", "dino"])
@pytest.mark.parametrize("proposer", ["none", "classical", "sam"])
def test_every_proposer_of_regions_gives_finite_tokens_and_a_record(vision, proposer, folders, image):
    check_tokens(build(folders, "corrclip", vision, proposer), "corrclip", vision, image)


def check_tokens(model, head, vision, image):
    result = model.segment(image, WORDS, **SIZE)
    assert result.label_map.shape == image.shape[:2]
    record = result.settings["method"]
    assert record["head"] == head
    assert record["vision"].endswith(vision)
    assert result.settings["applies"][0] == f"head-{head}"
    windows = torch.rand(2, 3, 32, 40)
    with torch.inference_mode():
        both, alone = model.encode_images(windows), model.encode_images(windows[1:])
    assert torch.isfinite(both.tokens).all()
    torch.testing.assert_close(alone.tokens, both.tokens[1:], atol=1e-4, rtol=1e-3)
    assert both.grid[0] * both.stride == 32
    assert both.grid[1] * both.stride == 40


@pytest.mark.parametrize("head", ["proxyclip", "trident", "corrclip"])
@pytest.mark.parametrize("size", [(1, 1), (9, 100)])
def test_flat_and_tiny_images_are_labelled(head, size, folders):
    model = build(folders, head, "dinov2")
    found = model.segment(
        np.full((*size, 3), 128, np.uint8),
        WORDS,
        refine="none",
        prompts="bare",
        **{"short_side": 32, "max_long_side": 96},
    )
    assert found.label_map.shape == size
    assert np.isfinite(found.score_map).all()


class Lent(ImageEncoder):
    """Gives the tokens it was made with, one a patch of 8 pixels."""

    def __init__(self, tokens, grid, stride=8):
        super().__init__()
        self.tokens, self.grid, self.stride = tokens, grid, stride

    def forward(self, images):
        tokens = self.tokens.expand(len(images), *self.tokens.shape)
        return PatchFeatures(tokens=tokens, grid=self.grid, stride=self.stride)


def with_vision(folders, kind, tokens, grid, **more):
    clip, texts = load_clip(folders["clip"])
    vision = None if tokens is None else Lent(tokens, grid)
    how = {"name": "x", "settings": build(folders, "proxyclip").settings}
    method = BorrowedAttentionSettings(**more)
    if kind is CorrClip:
        return CorrClip(clip, texts, vision, None, method=method, **how)
    return ProxyClip(clip, texts, vision, head="proxyclip", method=method, **how)


IMAGES = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
GRID = (4, 5)


def values(model) -> torch.Tensor:
    return normalize(dense_tokens(model.clip.open(IMAGES), "value"), dim=2)


@torch.inference_mode()
def test_proxyclip_is_value_where_no_patch_is_like_another_and_the_mean_of_a_block_of_equals(folders):
    model = with_vision(folders, ProxyClip, torch.eye(20), GRID)
    torch.testing.assert_close(model.encode_images(IMAGES).tokens, values(model), atol=1e-5, rtol=1e-4)
    flat = with_vision(folders, ProxyClip, torch.ones(20, 3), GRID)
    torch.testing.assert_close(flat.encode_images(IMAGES).tokens, values(flat), atol=1e-5, rtol=1e-4)
    blocks = torch.zeros(20, 2)
    blocks[:10, 0], blocks[10:, 1] = 1, 1
    model = with_vision(folders, ProxyClip, blocks, GRID)
    found, opened = model.encode_images(IMAGES).tokens[0], model.clip.open(IMAGES)
    of_block = opened.block.values(opened.last)[:, :, 1:11].mean(dim=2, keepdim=True)
    expected = normalize(opened.block.project(opened.block.output(of_block)), dim=2)[0, 0]
    torch.testing.assert_close(found[:10], expected.expand(10, -1), atol=1e-5, rtol=1e-4)


PLAIN = {"spatial_weight": 0.0, "semantic_weight": 0.0, "merge_distance": 0.0}


@torch.inference_mode()
def test_corrclip_is_value_in_regions_of_one_patch_and_one_mean_in_a_region_of_all(folders):
    model = with_vision(folders, CorrClip, torch.eye(20), GRID, **PLAIN)
    pixels = torch.arange(1, 21).reshape(1, *GRID).repeat_interleave(8, 1).repeat_interleave(8, 2).int()
    found = model.encode_images(IMAGES, pixels).tokens
    torch.testing.assert_close(found, values(model), atol=1e-5, rtol=1e-4)
    whole = with_vision(folders, CorrClip, None, GRID, **PLAIN).encode_images(IMAGES, torch.ones_like(pixels))
    opened = model.clip.open(IMAGES)
    mean = opened.block.values(opened.last)[:, :, 1:].mean(dim=2, keepdim=True)
    expected = normalize(opened.block.project(opened.block.output(mean)), dim=2)
    torch.testing.assert_close(whole.tokens, expected.expand(1, 20, -1), atol=1e-5, rtol=1e-4)
    flat = with_vision(folders, CorrClip, torch.ones(20, 3), GRID, **PLAIN).encode_images(IMAGES)
    torch.testing.assert_close(flat.tokens, values(model), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_semantic_branch_of_one_region_is_the_class_token(folders):
    model = with_vision(folders, CorrClip, None, GRID, spatial_weight=0.0, semantic_weight=1e6)
    found = model.encode_images(IMAGES, torch.ones(1, 32, 40, dtype=torch.int32)).tokens
    expected = normalize(model.clip(IMAGES).global_token, dim=1)
    torch.testing.assert_close(found, expected[:, None].expand(1, 20, -1), atol=1e-4, rtol=1e-3)


def test_every_region_ends_with_one_label_and_background_by_probability_is_voted_too(folders, image):
    model = build(folders, "corrclip", "none", "classical")
    encoded = model.encode(image, **{key: SIZE[key] for key in ("short_side", "window", "window_stride")})
    for changes in ({}, {"background": "probability", "min_probability": 0.4}):
        found = model.segment(encoded, WORDS, refine="none", prompts="bare", **changes).label_map
        for region in np.unique(encoded.regions):
            assert len(np.unique(found[encoded.regions == region])) == 1 or region == 0
    free = build(folders, "corrclip", "none", "classical", region_vote=False)
    assert free.applies == ("head-corrclip",)


def test_windows_that_agree_splice_to_the_same_numbers_and_a_step_off_the_grid_is_refused(folders, image):
    model = build(folders, "trident", "dinov2")
    encoded = model.encode(image, short_side=48)
    assert len(encoded.windows) == 1
    grid = torch.arange(24.0).reshape(1, 24, 1)
    one = PatchFeatures(tokens=grid[:, :16], grid=(4, 4), stride=8)
    whole = torch.arange(24.0).reshape(4, 6)
    parts = [(0, whole[:, :4]), (16, whole[:, 2:])]
    windows = tuple(Window(top=0, left=left, height=32, width=32) for left, _ in parts)
    features = tuple(replace(one, tokens=part.reshape(1, 16, 1)) for _, part in parts)
    joined = splice(replace(encoded, resized_size=(32, 48), windows=windows, features=features))
    torch.testing.assert_close(joined[0, 0], whole)
    with pytest.raises(InputError, match="found windows every 12 pixels"):
        model.segment(image, WORDS, window=32, window_stride=12)


def test_sams_attention_is_that_of_its_own_last_block(folders, image):
    model = build(folders, "trident", "dinov2")
    assert isinstance(model, Trident)
    kept = []
    hook = model.sam.network.vision_encoder.layers[-1].attn.register_forward_hook(
        lambda module, arguments, named, output: kept.append(output), with_kwargs=True
    )
    attention = model.sam.last_attention(image)
    hook.remove()
    assert attention.grid == (2, 4)  # 50×70 at a long side of 64, patches of 16
    mixed = []
    whole = type(attention)(attention=attention.attention, tokens=attention.tokens, grid=(4, 4))
    for weights, head_values in whole.heads():
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(16))
        mixed.append(weights @ head_values)
    found = attention.attention.proj(torch.cat(mixed, dim=1))
    torch.testing.assert_close(found, kept[0][0].reshape(16, -1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "proxyclip", "vision": "none"}, "which can do without"),
        ({"head": "trident", "sam": "sam2"}, "a SAM 1 checkpoint"),
    ],
)
def test_what_cannot_stand_beside_clip_is_refused(changes, message, folders):
    with pytest.raises(InputError, match=message):
        build(folders, **changes)


def test_siglip_is_refused(folders):
    with pytest.raises(InputError, match="patches reach the texts through a pooling head"):
        build_dense_similarity(str(folders["siglip"]), DenseSettings(head="corrclip"))


def test_pieces_are_eight_connected_large_and_sure_enough():
    chances = torch.full((2, 20, 30), 0.3)
    chances[0] = 0.4
    chances[1, 2:6, 3:8] = 0.6
    chances[1, 6:9, 8:12] = 0.7  # touches the first by a corner
    chances[1, 8, 10] = 0.9
    chances[1, 15:17, 20:22] = 0.8  # small
    pieces = list(find_pieces(chances, least=0.5, min_pixels=5))
    assert [(piece.place, piece.box, piece.point) for piece in pieces] == [(1, (3, 2, 11, 8), (10, 8))]
    assert len(list(find_pieces(chances, least=0.0, min_pixels=1))) == 3
    assert not list(find_pieces(chances, least=0.95, min_pixels=1))


class Drawer:
    """Draws the piece that it is told of, shifted right by four pixels, and is sure of class 1 alone."""

    def __init__(self):
        self.told = []

    def predict_piece(self, embedded, point, corners, probability):
        self.told.append((point.tolist(), corners.tolist(), float(probability.max())))
        logits = torch.where(probability > 0, 3.0, -3.0).roll(4, dims=1)
        return logits, 0.95 if probability[10, 10] > 0 else 0.5

    def upsample(self, logits, embedded):
        return logits


def test_what_is_drawn_again_replaces_the_coarse_answer_where_sam_is_sure(monkeypatch):
    monkeypatch.setattr("lexiseg.methods.borrowed_attention.prompt_refinement.MIN_PIXELS", 9)
    chances = torch.full((2, 40, 40), 0.1)
    chances[0] = 0.55
    chances[:, 5:25, 5:25] = torch.tensor([0.1, 0.6])[:, None, None]
    drawer, embedded = Drawer(), ImageEmbeddings(embeddings=(), size=(80, 80), seen_size=(64, 64))
    places, values, drawn = redraw(drawer, embedded, chances, least=0.2)
    assert len(drawer.told) == 2
    assert drawer.told[1][1] == [[10.0, 10.0], [50.0, 50.0]]  # pixels of the image
    assert drawer.told[1][2] == pytest.approx(0.005 * 0.6)
    assert drawn[10, 9:25].all()
    assert (places[drawn] == 1).all()
    assert not drawn[10, :8].any()
    torch.testing.assert_close(values[10, 12], torch.tensor(3.0).sigmoid() * 0.6)


def test_sam_takes_point_box_and_map_and_its_own_class_says_the_same(folders):
    """A map of the whole image is laid into the part of the square that the image fills."""
    sam = load_sam(folders["sam"])
    picture = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    with torch.inference_mode():
        embedded = sam.embed(picture)
        chance = torch.rand(15, 30)
        logits, iou = sam.predict_piece(
            embedded, torch.tensor([20.0, 10.0]), torch.tensor([[5.0, 5.0], [40.0, 20.0]]), chance
        )
        other, _ = sam.predict_piece(
            embedded, torch.tensor([20.0, 10.0]), torch.tensor([[5.0, 5.0], [40.0, 20.0]]), 0 * chance
        )
    assert logits.shape == (16, 16)
    assert np.isfinite(iou)
    assert not torch.allclose(logits, other), "the map is read"


def test_trident_draws_again_and_sees_an_image_in_parts(folders, image):
    whole = build(folders, "trident", "dinov2")
    halves = build(folders, "trident", "dinov2", sam_views=2, negative_limit=0.6)
    drawn = build(folders, "trident", "dinov2", sam_prompts=True, min_prompt_probability=0.0)
    results = [model.segment(image, WORDS, **SIZE) for model in (whole, halves, drawn)]
    encoded = halves.encode(image, **{name: SIZE[name] for name in ("short_side", "window", "window_stride")})
    assert len(encoded.windows) == 2
    assert encoded.windows[0].width + encoded.windows[1].width == encoded.resized_size[1]
    assert not np.allclose(results[0].score_map, results[1].score_map)
    for result in results:
        assert result.label_map.shape == image.shape[:2]
    assert results[2].settings["method"]["sam_prompts"]
    narrow = halves.segment(
        image[:, :1], WORDS, refine="none", prompts="bare", short_side=16, max_long_side=64
    )
    assert narrow.label_map.shape == (50, 1)
