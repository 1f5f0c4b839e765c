import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.models.dinov2 import load_dinov2
from tiny_checkpoints import change_json
from tiny_vision_checkpoints import save_tiny_dinov2

KINDS = {"plain": {}, "registers": {"registers": True}, "giant": {"swiglu": True}}


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return save_tiny_dinov2(tmp_path_factory.mktemp("checkpoints") / request.param, **KINDS[request.param])


def normalised(images: Tensor) -> Tensor:
    mean, std = torch.tensor([0.48, 0.46, 0.41]), torch.tensor([0.27, 0.26, 0.28])
    return (images - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("size", [(28, 28), (42, 56), (7, 63), (35, 14)])
def test_tokens_are_transformers_own_patches_without_class_and_registers(folder, size):
    from transformers import AutoModel

    images = torch.rand(2, 3, *size)
    reference = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = reference(normalised(images)).last_hidden_state
    encoder = load_dinov2(folder)
    features = encoder(images)
    num_patches = size[0] * size[1] // 49
    assert features.grid == (size[0] // 7, size[1] // 7)
    assert features.stride == encoder.stride == 7
    torch.testing.assert_close(features.tokens, expected[:, -num_patches:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features.global_token, expected[:, 0], atol=1e-5, rtol=1e-4)
    assert expected.shape[1] - num_patches == (3 if "registers" in folder.name else 1)


def test_the_encoder_is_frozen_and_in_evaluation_mode(folder):
    encoder = load_dinov2(folder)
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not any(value.is_meta for value in [*encoder.parameters(), *encoder.buffers()])


def test_files_in_the_names_of_the_network_load_alike(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "renamed")
    encoder = load_dinov2(folder)
    save_file(
        {name: value.clone() for name, value in encoder.vision.state_dict().items()},
        copy / "model.safetensors",
    )
    assert any("q_proj" in name for name in load_file(copy / "model.safetensors"))
    again = load_dinov2(copy)
    assert again.fingerprint == encoder.fingerprint
    images = torch.rand(1, 3, 28, 28)
    assert torch.equal(again(images).tokens, encoder(images).tokens)


def test_the_hub_names_are_read(tmp_path):
    save_tiny_dinov2(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "encoder.layer.0.attention.attention.query.weight" in stored
    vision = load_dinov2(tmp_path).vision
    weight = stored["encoder.layer.0.attention.attention.key.weight"]
    assert torch.equal(vision.encoder.layer[0].attention.k_proj.weight, weight)


def test_the_fingerprint_follows_the_weights(tmp_path):
    encoder = load_dinov2(save_tiny_dinov2(tmp_path))
    before = encoder.fingerprint
    changed = load_dinov2(tmp_path)
    changed.vision.layernorm.bias[0] += 1e-3
    assert changed.fingerprint != before


def test_a_classifier_on_top_is_left_out(tmp_path):
    save_tiny_dinov2(tmp_path)
    stored = {f"dinov2.{name}": value for name, value in load_file(tmp_path / "model.safetensors").items()}
    expected = load_dinov2(tmp_path).fingerprint
    save_file({**stored, "classifier.weight": torch.zeros(4, 64)}, tmp_path / "model.safetensors")
    assert load_dinov2(tmp_path).fingerprint == expected


@pytest.mark.parametrize("name", ["encoder.layer.1.attention.attention.query.weight", "layernorm.bias"])
def test_a_missing_tensor_is_named(tmp_path, name):
    save_tiny_dinov2(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="1 that do not fit") as caught:
        load_dinov2(tmp_path)
    assert name.replace("attention.attention.query", "attention.q_proj") in str(caught.value)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_first_layers_end_in_the_last_norm(folder, layers):
    from transformers import AutoModel

    images = torch.rand(2, 3, 28, 28)
    reference = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = reference(normalised(images), output_hidden_states=True).hidden_states
        expected = reference.layernorm(states[layers])
    encoder = load_dinov2(folder, num_layers=layers)
    torch.testing.assert_close(encoder(images).tokens, expected[:, -16:], atol=1e-5, rtol=1e-4)
    assert (encoder.fingerprint == load_dinov2(folder).fingerprint) == (layers == 3)


@pytest.mark.parametrize("layers", [0, 4, -1])
def test_layers_that_are_not_there_are_refused(folder, layers):
    with pytest.raises(InputError, match=f"found {layers} of 3; expected 1 to 3"):
        load_dinov2(folder, num_layers=layers)


def test_half_the_bits_give_nearly_the_same_tokens(folder):
    images = torch.rand(2, 3, 28, 42)
    whole, half = load_dinov2(folder), load_dinov2(folder, precision="bfloat16")
    expected, found = whole(images).tokens, half(images).tokens
    assert found.dtype == torch.float32
    difference = (found - expected).norm() / expected.norm()
    assert 1e-5 < difference < 2e-2
    assert whole.fingerprint != half.fingerprint


def test_another_kind_of_model_is_refused(tmp_path):
    save_tiny_dinov2(tmp_path)
    change_json(tmp_path / "config.json", model_type="vit")
    expected = "model_type 'vit', .*; expected one of: dinov2, dinov2_with_registers"
    with pytest.raises(CheckpointError, match=expected):
        load_dinov2(tmp_path)
