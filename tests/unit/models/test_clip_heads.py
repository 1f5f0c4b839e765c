"""Heads of CLIP's and SigLIP's last attention, on tiny random checkpoints and a 4×5 grid."""

import pytest
import torch
from einops import rearrange
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from lexiseg.core.errors import InputError
from lexiseg.models.clip import load_clip
from lexiseg.models.siglip import load_siglip
from lexiseg.ops import dense_heads
from lexiseg.ops.dense_heads import HEADS
from lexiseg.recipes.dense_similarity import DenseSettings, build_dense_similarity
from tiny_checkpoints import change_json, save_tiny_clip, save_tiny_siglip, save_tiny_siglip2

GRID = (4, 5)
#: ``scclip`` compares 30 neighbours: on smaller grids its outliers are ties.
LARGE_GRID = (7, 9)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("heads")
    makers = {"clip": save_tiny_clip, "siglip": save_tiny_siglip, "siglip2": save_tiny_siglip2}
    return {name: make(home / name) for name, make in makers.items()}


@pytest.fixture
def encoder(folders):
    return load_clip(folders["clip"])[0]


def draw(grid):
    return torch.rand(2, 3, 8 * grid[0], 8 * grid[1], generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def images():
    return draw(GRID)


def test_value_is_the_head_of_earlier_versions_bit_for_bit(encoder, images):
    last = encoder.vision.encoder.layers[-1]
    normed = last.layer_norm1(encoder.open(images).last)
    patches = last.self_attn.out_proj(last.self_attn.v_proj(normed)[:, 1:])
    expected = encoder.projection(encoder.vision.post_layernorm(patches))
    assert torch.equal(encoder(images).tokens, expected)


def test_plain_attention_in_the_whole_block_is_transformers_own_network(folders, encoder, images):
    from transformers import CLIPModel

    reference = CLIPModel.from_pretrained(folders["clip"]).eval()
    pixels = encoder.normalisation(images)
    with torch.no_grad():
        hidden = reference.vision_model(pixels, interpolate_pos_encoding=True).last_hidden_state
        expected = reference.visual_projection(reference.vision_model.post_layernorm(hidden))
    opened = encoder.open(images)
    block = opened.block
    attended = scaled_dot_product_attention(*block.queries_keys_values(opened.last), scale=block.scale)
    found = block.project(block.complete(opened.last, attended))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_copies_of_the_class_token_that_see_all_patches_are_the_class_token(encoder, images):
    opened = encoder.open(images)
    allowed = torch.ones(2, 3, 1 + GRID[0] * GRID[1], dtype=torch.bool)
    copies = opened.block.project(opened.block.carry_copies(opened.states, allowed))
    for index in range(3):
        torch.testing.assert_close(copies[:, index], encoder(images).global_token, atol=1e-5, rtol=1e-4)
    allowed[:, 1, 5:] = False
    other = opened.block.project(opened.block.carry_copies(opened.states, allowed))
    torch.testing.assert_close(other[:, 0], copies[:, 0])
    assert not torch.allclose(other[:, 1], copies[:, 1], atol=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_finite_deterministic_alone_as_in_a_batch_and_has_the_same_global_token(
    head, encoder, images
):
    plain = encoder(images).global_token
    encoder.head = head
    found = encoder(images)
    assert found.grid == GRID
    assert torch.isfinite(found.tokens).all()
    assert torch.equal(found.tokens, encoder(images).tokens)
    torch.testing.assert_close(encoder(images[1:]).tokens, found.tokens[1:], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.global_token, plain)


def test_no_two_heads_are_alike(encoder, images):
    found = {}
    for head in HEADS:
        encoder.head = head
        found[head] = encoder(images).tokens
    for one in HEADS:
        assert [other for other in HEADS if torch.allclose(found[one], found[other], atol=1e-3)] == [one]


@pytest.mark.parametrize("head", HEADS)
def test_half_precision_stays_within_a_hundredth_in_cosine(head, folders):
    images = draw(LARGE_GRID)
    encoder = load_clip(folders["clip"])[0]
    encoder.head = head
    expected = encoder(images).tokens
    found = encoder.half()(images.half()).tokens.float()
    assert cosine_similarity(found, expected, dim=2).min() > 1 - 1e-2


@pytest.mark.parametrize("head", ["sclip", "clearclip", "kk"])
def test_permuting_patches_before_the_last_block_permutes_the_tokens(head, encoder, images):
    found, expected = with_patches_moved(encoder, images, head, torch.randperm(20))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", ["naclip", "scclip"])
def test_heads_with_places_follow_flips_of_the_grid_and_nothing_else(head, encoder):
    images, numbers = draw(LARGE_GRID), torch.arange(63).reshape(LARGE_GRID)
    for flipped in (numbers.flip(0), numbers.flip(1)):
        found, expected = with_patches_moved(encoder, images, head, flipped.reshape(-1))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    if head == "naclip":
        found, expected = with_patches_moved(encoder, images, head, numbers.T.reshape(-1))
        assert not torch.allclose(found, expected, atol=1e-4)


def with_patches_moved(encoder, images, head, order):
    opened = encoder.open(images)
    tokens = dense_heads.dense_tokens(opened, head)
    moved = tuple(torch.cat([state[:, :1], state[:, 1 + order]], dim=1) for state in opened.states)
    changed = type(opened)(states=moved, grid=opened.grid, stride=opened.stride, block=opened.block)
    return dense_heads.dense_tokens(changed, head), tokens[:, order]


def test_nothing_is_aggregated_where_a_token_is_like_itself_alone(encoder, images, monkeypatch):
    calls = []
    monkeypatch.setattr(dense_heads, "_LEAST_ALIKE", 1 - 1e-6)
    original = dense_heads.aggregate_alike

    def watched(tokens, similarity, *, least):
        found = original(tokens, similarity, least=least)
        calls.append(float((found - tokens).abs().max() / tokens.abs().max()))
        return found

    monkeypatch.setattr(dense_heads, "aggregate_alike", watched)
    encoder.head = "scclip"
    encoder(images)
    assert len(calls) == 2
    assert max(calls) < 1e-4


def test_scclip_is_the_formula_written_out_in_two_passes(encoder):
    opened = encoder.open(draw(LARGE_GRID))
    block, last, states = opened.block, opened.last, opened.states
    outliers = dense_heads.find_outliers(dense_heads.outlier_scores(last[:, 1:]))
    assert outliers.any()
    blocks = dense_heads._SelfCalibratedBlocks.of(3)

    def cosines(tokens):
        rows = tokens / tokens.norm(dim=2, keepdim=True)
        return rows @ rows.transpose(1, 2)

    def spread(tokens, similarity):
        kept = torch.where(similarity < 0.4, 0, similarity)
        return kept @ tokens / (kept.sum(dim=2, keepdim=True) + 1e-6)

    same = cosines(dense_heads.repair_tokens(states[blocks.before][:, 1:], outliers, LARGE_GRID))
    after = cosines(states[blocks.after][:, 1:])
    bias = (same - same.mean(dim=(1, 2), keepdim=True)) * 3
    weights = bias.masked_fill(bias < 0, -torch.inf).softmax(dim=2)[:, None]
    summed = sum(states[b] for b in blocks.second_pass)
    repaired = spread(dense_heads.repair_tokens(last[:, 1:], outliers, LARGE_GRID), same)
    total = 0
    for patches, class_token in ((repaired, last[:, :1]), (summed[:, 1:], summed[:, :1])):
        _, key, value = block.queries_keys_values(patches)
        matrix = (weights + (block.scale * key @ key.transpose(2, 3)).softmax(dim=3)) / 2
        total = total + spread(block.output(matrix @ value) + 0.3 * class_token, after)
    found = dense_heads.dense_tokens(opened, "scclip")
    torch.testing.assert_close(found, block.project(total), atol=1e-4, rtol=1e-3)


def test_twelve_blocks_are_those_of_the_paper_and_others_stand_at_the_same_depth():
    blocks = dense_heads._SelfCalibratedBlocks
    assert blocks.of(12) == blocks(before=9, after=4, second_pass=range(4, 11))
    assert blocks.of(24) == blocks(before=18, after=8, second_pass=range(8, 21))
    for depth in (1, 2, 3, 5):
        found = blocks.of(depth)
        assert max(found.before, found.after, *found.second_pass) <= depth - 1


@pytest.mark.parametrize("size", [(8, 8), (8, 24)])
@pytest.mark.parametrize("head", HEADS)
def test_one_patch_and_flat_images_are_finite(head, size, encoder):
    encoder.head = head
    assert torch.isfinite(encoder(torch.full((1, 3, *size), 0.5)).tokens).all()


@pytest.mark.parametrize("depth", [1, 2])
def test_scclip_needs_no_particular_depth(depth, encoder, images):
    encoder.vision.encoder.layers = encoder.vision.encoder.layers[:depth]
    encoder.head = "scclip"
    assert torch.isfinite(encoder(images).tokens).all()


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_the_pooling_head_of_siglip_attends_by_keys(family, folders, images):
    found = {}
    for head in ("value", "kk", "naclip"):
        found[head] = load_siglip(folders[family], head=head)[0](images).tokens
    encoder = load_siglip(folders[family])[0]
    hidden = images
    hidden, _ = encoder._embed(images)
    for layer in encoder.vision.encoder.layers:
        hidden = layer(hidden, None)
    attention, states = encoder.vision.head.attention, encoder.vision.post_layernorm(hidden)
    weight, bias = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    key, value = (
        rearrange(states @ weight[part].T + bias[part], "b n (a d) -> b a n d", a=4) for part in (1, 2)
    )
    mixed = (key @ key.transpose(2, 3) * key.shape[3] ** -0.5).softmax(dim=3) @ value
    tokens = attention.out_proj(rearrange(mixed, "b a n d -> b n (a d)"))
    expected = tokens + encoder.vision.head.mlp(encoder.vision.head.layernorm(tokens))
    torch.testing.assert_close(found["kk"], expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found["kk"], found["naclip"], atol=1e-4)
    assert not torch.allclose(found["kk"], found["value"], atol=1e-3)


@pytest.mark.parametrize("head", ["maskclip", "sclip", "clearclip", "scclip"])
def test_heads_that_siglip_has_not_are_refused_with_those_it_has(head, folders):
    with pytest.raises(InputError, match=rf"found {head}, which needs .*expected one of: value, kk, naclip"):
        build_dense_similarity(str(folders["siglip"]), DenseSettings(head=head))


def test_auto_is_scclip_from_14_by_14_patches_on_and_every_result_records_the_head(folders, tmp_path):
    small = build_dense_similarity(str(folders["clip"]))
    assert small.method_settings["head"] == small.image_encoder.head == "naclip"
    assert small.applies == ("head-naclip",)
    assert (small.settings.short_side, small.settings.window, small.settings.window_stride) == (48, 32, 16)
    assert build_dense_similarity(str(folders["siglip"])).method_settings["head"] == "value"
    fine = save_tiny_clip(tmp_path)
    table = "vision_model.embeddings.position_embedding.weight"
    from safetensors.torch import load_file, save_file

    tensors = load_file(fine / "model.safetensors")
    save_file({**tensors, table: torch.randn(197, 32)}, fine / "model.safetensors")
    import json

    vision = json.loads((fine / "config.json").read_text())["vision_config"]
    change_json(fine / "config.json", vision_config={**vision, "image_size": 112})
    found = build_dense_similarity(str(fine))
    assert found.method_settings["head"] == "scclip"
    assert (found.settings.short_side, found.settings.window, found.settings.window_stride) == (168, 112, 56)
    old = build_dense_similarity(str(fine), DenseSettings(head="value"))
    assert (old.settings.short_side, old.settings.window) == (224, None)
