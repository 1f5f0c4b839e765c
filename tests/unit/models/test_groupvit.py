"""GroupViT's networks against transformers' own, and P9 and P13 of the reconstruction."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.layers.grouping import hard_assignment, soft_assignment
from lexiseg.models.groupvit import GroupViTNetwork
from lexiseg.models.groupvit_checkpoint import load_groupvit
from lexiseg.models.groupvit_encoders import segment_shares
from lexiseg.models.groupvit_shape import GroupViTShape
from tiny_checkpoints import change_json, save_tiny_groupvit

TINY = GroupViTShape(
    width=24, num_heads=2, patch=8, image_side=32, depths=(2, 1, 1), group_tokens=(6, 3, 0), groups=(6, 3, 0),
    feed_forward=48, drop_path=0.0, text_width=16, text_depth=1, text_heads=2, text_feed_forward=32, max_tokens=12,
    projection_hidden=32, embedding_dim=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_groupvit(tmp_path_factory.mktemp("checkpoints") / "groupvit")


@pytest.fixture(scope="module")
def reference(folder):
    from transformers import GroupViTModel

    return GroupViTModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def encoders(folder):
    return load_groupvit(folder)


def normalised(images: Tensor) -> Tensor:
    mean, std = torch.tensor([0.48, 0.46, 0.41]), torch.tensor([0.27, 0.26, 0.28])
    return (images - mean[:, None, None]) / std[:, None, None]


def images_of(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("size", [(32, 32), (48, 48), (40, 56)])
def test_segments_and_both_assignments_are_transformers_own(reference, encoders, size):
    images = images_of(*size)
    vision = reference.vision_model
    with torch.no_grad():
        # The class offers other sizes to its parts only.
        embedded = vision.embeddings(normalised(images), interpolate_pos_encoding=size != (32, 32))
        wanted = vision.encoder(embedded, output_attentions=True, return_dict=True)
        segments, logits, grid = encoders[0].vision_model(normalised(images))
        last = vision.layernorm(wanted.last_hidden_state)
    assert grid == (size[0] // 8, size[1] // 8)
    torch.testing.assert_close(segments, last, atol=1e-5, rtol=1e-4)
    for found, soft in zip(logits, wanted.attentions, strict=True):
        torch.testing.assert_close(soft_assignment(found), soft, atol=1e-6, rtol=1e-4)
        assert torch.equal(hard_assignment(found).argmax(1), soft.argmax(1))


def test_image_and_text_features_are_transformers_own(folder, reference, encoders):
    from transformers import CLIPTokenizer

    texts = ["a photo of a cat.", "DOG", "a", "🐱 élan"]
    tokens = CLIPTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    images = images_of(32, 32)
    with torch.no_grad():
        image = reference.get_image_features(normalised(images)).pooler_output
        text = reference.get_text_features(**tokens).pooler_output
        torch.testing.assert_close(encoders[0](images).global_token, image, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoders[1](texts), text, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoders[2], reference.logit_scale)


def test_the_shares_of_patches_are_transformers_own_grouping(reference, encoders):
    from transformers.models.groupvit.modeling_groupvit import get_grouping_from_attentions

    images = images_of(32, 32)
    with torch.no_grad():
        attentions = reference.vision_model(normalised(images), output_attentions=True).attentions
        wanted = get_grouping_from_attentions(attentions, (4, 4))
        features = encoders[0](images)
    shares = rearrange(features.segments.shares, "b (h w) g -> b g h w", h=4)
    torch.testing.assert_close(shares, wanted, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(features.segments.shares.sum(2), torch.ones(2, 16))
    torch.testing.assert_close(
        features.tokens, features.segments.shares @ features.segments.embeddings, atol=1e-6, rtol=1e-5
    )


def test_segments_and_images_are_projected_alike(encoders):
    """The projection works position by position: a batch norm's running statistics do not mix rows."""
    rows = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    projection = encoders[0].visual_projection
    torch.testing.assert_close(projection(rows)[:, 1], projection(rows[:, 1]))


def test_a_checkpoint_of_an_older_transformers_loads_alike(folder, encoders, tmp_path):
    """It stores position_ids, says 2 for the end token, and keeps null beside each part of its settings."""
    copy = shutil.copytree(folder, tmp_path / "old")
    tensors = load_file(copy / "model.safetensors")
    assert "visual_projection.1.num_batches_tracked" in tensors
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, copy / "model.safetensors")
    config = json.loads((copy / "config.json").read_text())
    text = {**config["text_config"], "eos_token_id": 2}
    change_json(copy / "config.json", text_config=text)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(
        json.dumps({**config, "text_config_dict": None, "vision_config_dict": None})
    )
    image, text_encoder, _ = load_groupvit(copy)
    images = images_of(32, 32)
    torch.testing.assert_close(image(images).tokens, encoders[0](images).tokens)
    torch.testing.assert_close(text_encoder(["cat"]), encoders[1](["cat"]))


def test_the_encoders_weights_are_read_by_transformers(folder, encoders, reference, tmp_path):
    from transformers import GroupViTModel

    copy = shutil.copytree(folder, tmp_path / "ours")
    tensors = {**encoders[0].state_dict(), **encoders[1].state_dict(), "logit_scale": encoders[2].detach()}
    save_file(
        {k: v for k, v in tensors.items() if not k.startswith("normalisation.")}, copy / "model.safetensors"
    )
    theirs, info = GroupViTModel.from_pretrained(copy, output_loading_info=True)
    assert all(name.endswith("num_batches_tracked") for name in info["missing_keys"])
    assert not info["unexpected_keys"]
    images = images_of(32, 32)
    with torch.no_grad():
        found = theirs.eval().get_image_features(normalised(images)).pooler_output
        wanted = reference.get_image_features(normalised(images)).pooler_output
    torch.testing.assert_close(found, wanted)


def test_a_missing_tensor_is_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "broken")
    tensors = load_file(copy / "model.safetensors")
    del tensors["visual_projection.1.running_mean"]
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"visual_projection\.1\.running_mean: file nothing"):
        load_groupvit(copy)


def test_an_activation_that_is_not_known_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "broken")
    config = json.loads((copy / "config.json").read_text())
    change_json(copy / "config.json", text_config={**config["text_config"], "hidden_act": "silu"})
    with pytest.raises(CheckpointError, match=re.escape("hidden_act 'silu' in text_config")) as caught:
        load_groupvit(copy)
    assert "expected one of: quick_gelu, gelu" in str(caught.value)


def test_a_text_longer_than_the_model_reads_is_refused(encoders):
    with pytest.raises(VocabularyError, match="found 78 tokens; expected at most 77"):
        encoders[1](["o" * 76])


def test_lengths_of_the_joint_sequences_p9(monkeypatch):
    """196 + 64 = 260, 64 + 8 = 72 and 8 tokens at 224 pixels; 784 + 64 = 848 at 448."""
    shape = GroupViTShape(
        width=8, num_heads=1, depths=(1, 1, 1), feed_forward=8, text_width=8, text_depth=1, text_heads=1,
        text_feed_forward=8, projection_hidden=8, embedding_dim=8,
    )  # fmt: skip
    network = GroupViTNetwork(shape, 10).initialise().eval()
    seen: list[int] = []
    for stage in network.vision_model.encoder.stages:
        stage.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    segments, assignments, _ = network.vision_model(torch.zeros(1, 3, 224, 224))
    assert seen == [260, 72, 8]
    assert segments.shape == (1, 8, 8)
    assert [tuple(logits.shape[1:]) for logits in assignments] == [(64, 196), (8, 64)]
    seen.clear()
    shares = segment_shares(network.vision_model(torch.zeros(1, 3, 448, 448))[1])
    assert seen == [848, 72, 8]
    assert shares.shape == (1, 784, 8)


def test_the_tokens_of_the_second_stage_start_from_the_image_alone_p13():
    torch.manual_seed(0)
    network = GroupViTNetwork(TINY, 10).initialise()
    first, second, last = network.vision_model.encoder.stages
    assert first.group_token.abs().min() > 0
    assert not second.group_token.any()
    assert not hasattr(last, "group_token")
    seen: list[Tensor] = []
    second.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -3:]))
    projected: list[Tensor] = []
    second.group_projector.register_forward_hook(lambda _, __, out: projected.append(out))
    network.eval().vision_model(images_of(32, 32))
    assert torch.equal(seen[0], projected[0])


def test_the_paper_s_network_has_its_published_size():
    with torch.device("meta"):
        network = GroupViTNetwork(GroupViTShape(), 49_408)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 55_726_609


def test_one_stage_that_groups_once():
    shape = GroupViTShape(**{**vars(TINY), "depths": (2, 1), "group_tokens": (6, 0), "groups": (3, 0)})
    _, assignments, _ = GroupViTNetwork(shape, 10).initialise().vision_model(images_of(32, 32))
    assert [tuple(logits.shape[1:]) for logits in assignments] == [(3, 16)]


def test_stochastic_depth_rises_linearly_and_is_for_training_only():
    network = GroupViTNetwork(GroupViTShape(**{**vars(TINY), "drop_path": 0.9}), 10).initialise()
    rates = [layer.drop_path for stage in network.vision_model.encoder.stages for layer in stage.layers]
    assert rates == pytest.approx([0.0, 0.3, 0.6, 0.9])
    layer = network.vision_model.encoder.stages[2].layers[0]
    tokens = torch.randn(4000, 2, 24, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    left_alone = (layer.train()(tokens) == tokens).flatten(1).all(1).float().mean()
    assert left_alone.item() == pytest.approx(0.81, abs=0.03)
    assert not (layer.eval()(tokens) == tokens).flatten(1).all(1).any()
