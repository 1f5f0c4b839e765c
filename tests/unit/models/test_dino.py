"""DINO's encoder against transformers' own ``ViTModel``."""

from pathlib import Path

import pytest
import torch

from lexiseg.core.errors import CheckpointError
from lexiseg.models.dino import DinoImageEncoder, load_dino
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, TRANSFORMER, change_json, randomised
from tiny_vision_checkpoints import write_preprocessor


def save_tiny_vit(folder: Path, *, classifier: bool = False) -> Path:
    """Save a ``ViTModel`` of 3 layers, patch 8, native 32×32, with its pooler, or as a classifier."""
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    config = ViTConfig(**TRANSFORMER, image_size=32, patch_size=8)
    randomised(ViTForImageClassification(config) if classifier else ViTModel(config)).save_pretrained(folder)
    write_preprocessor(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_vit(tmp_path_factory.mktemp("checkpoints") / "vit")


@pytest.fixture(scope="module")
def encoder(folder) -> DinoImageEncoder:
    return load_dino(folder)


@pytest.mark.parametrize("size", [(32, 32), (24, 56)])
def test_tokens_are_transformers_own_after_the_last_norm(folder, encoder, size):
    from transformers import ViTModel

    reference = ViTModel.from_pretrained(folder, attn_implementation="eager").eval()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor(IMAGE_MEAN)[:, None, None], torch.tensor(IMAGE_STD)[:, None, None]
    with torch.no_grad():
        expected = reference((images - mean) / std, interpolate_pos_encoding=True).last_hidden_state
        found = encoder(images)
    assert found.grid == (size[0] // 8, size[1] // 8)
    assert found.tokens.shape == (2, found.grid[0] * found.grid[1], 32)
    assert expected.std() > 0.1
    torch.testing.assert_close(found.tokens, expected[:, 1:], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.global_token, expected[:, 0], atol=1e-4, rtol=1e-3)


def test_a_classifier_holds_the_same_network_one_level_down(tmp_path):
    encoder = load_dino(save_tiny_vit(tmp_path, classifier=True))
    assert not any(value.is_meta for value in encoder.parameters())
    assert not hasattr(encoder.vision, "classifier")


def test_another_kind_of_model_is_refused(tmp_path):
    save_tiny_vit(tmp_path)
    change_json(tmp_path / "config.json", model_type="dinov2")
    with pytest.raises(
        CheckpointError, match=r"found model_type 'dinov2', .*; expected one of: vit\. Choose .*dino-vitb16"
    ):
        load_dino(tmp_path)


def test_the_fingerprint_follows_the_weights(folder, encoder):
    other = load_dino(folder)
    with torch.no_grad():
        other.vision.layernorm.bias += 1
    assert encoder.fingerprint == load_dino(folder).fingerprint != other.fingerprint
