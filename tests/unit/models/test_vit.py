import pytest
import torch

from lexiseg.models.vit import VIT_B16, VIT_S16, VisionTransformer, ViTShape
from lexiseg.ops.position_table import resize_position_table

SMALL = ViTShape(width=24, depth=2, num_heads=3, patch=8, image_side=32)


def images(batch: int, side: int) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(SMALL).eval()


@pytest.mark.parametrize(("shape", "millions"), [(VIT_S16, 21.7), (VIT_B16, 85.8)])
def test_the_named_sizes_are_as_large_as_published(shape, millions):
    with torch.device("meta"):
        network = VisionTransformer(shape)
        features = network(torch.empty(2, 3, 224, 224))
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.1
    )
    assert features.tokens.shape == (2, 196, shape.width)


def test_the_patches_of_the_paper():
    with torch.device("meta"):
        network = VisionTransformer(VIT_S16)
        assert network(torch.empty(1, 3, 288, 288)).grid == (18, 18)


def test_it_equals_transformers_vit_weight_by_weight(network):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, patch_size=8,
        image_size=32, layer_norm_eps=1e-6, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs = transformers.ViTModel(config, add_pooling_layer=False).eval()
    state = theirs.state_dict()
    ours = network.state_dict()
    by_order = {
        "embeddings.cls_token": ours["class_token"][None, None],
        "embeddings.position_embeddings": torch.cat(
            [ours["class_position"][None], ours["patch_positions"].reshape(16, 24)]
        )[None],
        "embeddings.patch_embeddings.projection.weight": ours["patch_embedding.weight"]
        .reshape(24, 8, 8, 3)
        .permute(0, 3, 1, 2),
        "embeddings.patch_embeddings.projection.bias": ours["patch_embedding.bias"],
        "layernorm.weight": ours["norm.weight"],
        "layernorm.bias": ours["norm.bias"],
    }
    for key in state:
        if key in by_order:
            continue
        kind = key.rpartition(".")[2]
        number = next(part for part in key.split(".") if part.isdigit())
        block = f"blocks.{number}"
        parts = {"query": 0, "key": 1, "value": 2, "q_proj": 0, "k_proj": 1, "v_proj": 2}
        part = next((place for name, place in parts.items() if f".{name}." in key), None)
        if part is not None:
            by_order[key] = ours[f"{block}.query_key_value.{kind}"].chunk(3)[part]
        elif "layernorm_before" in key:
            by_order[key] = ours[f"{block}.attention_norm.{kind}"]
        elif "layernorm_after" in key:
            by_order[key] = ours[f"{block}.feed_forward_norm.{kind}"]
        elif "attention" in key:
            by_order[key] = ours[f"{block}.attention_out.{kind}"]
        elif state[key].shape[0] == 96:
            by_order[key] = ours[f"{block}.feed_forward_in.{kind}"]
        else:
            by_order[key] = ours[f"{block}.feed_forward_out.{kind}"]
    theirs.load_state_dict(by_order)
    photos = images(2, 32)
    with torch.inference_mode():
        wanted = theirs(network.normalisation(photos)).last_hidden_state
        found = network(photos)
    torch.testing.assert_close(found.tokens, wanted[:, 1:], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found.global_token, wanted[:, 0], atol=2e-5, rtol=1e-4)


def test_other_sizes_get_a_resized_position_table(network):
    with torch.inference_mode():
        features = network(images(1, 48))
    assert features.grid == (6, 6)
    assert features.tokens.shape == (1, 36, 24)


def test_the_position_table_is_itself_at_its_own_size(network):
    table = network.patch_positions
    assert torch.equal(resize_position_table(table, (4, 4), "bicubic"), table.reshape(16, 24))


def test_patches_are_in_raster_order(network):
    with torch.no_grad():
        network.blocks = torch.nn.ModuleList()
        network.patch_positions.zero_()
        images = torch.zeros(1, 3, 16, 32)
        images[:, :, 8:, 16:24] = 1.0  # row 1, column 2 of a grid of 2 x 4
        tokens = network(images).tokens[0]
    apart = (tokens - tokens[0]).abs().sum(-1)
    assert apart.argmax().item() == 6
    assert (apart[[0, 1, 2, 3, 4, 5, 7]] < 1e-5).all()


def test_gradients_reach_every_parameter(network):
    features = network(images(2, 32))
    (features.tokens.square().sum() + features.global_token.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
