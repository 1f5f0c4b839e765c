import json
import shutil

import numpy as np
import pytest

from lexiseg.core.errors import CheckpointError
from lexiseg.methods.dense_similarity import DenseSimilarity
from lexiseg.models.clip import ClipImageEncoder
from lexiseg.models.siglip import SiglipImageEncoder
from lexiseg.recipes.dense_similarity import build_dense_similarity
from tiny_checkpoints import as_hub_cache, change_json, save_tiny_clip, save_tiny_siglip, save_tiny_siglip2

KINDS = {
    "clip": (save_tiny_clip, ClipImageEncoder, "imagenet80"),
    "siglip": (save_tiny_siglip, SiglipImageEncoder, "single"),
    "siglip2": (save_tiny_siglip2, SiglipImageEncoder, "single"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_checkpoint_segments_a_picture(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    save, encoder, prompts = KINDS[kind]
    save(tmp_path / kind)
    model = build_dense_similarity(str(tmp_path / kind))
    assert isinstance(model, DenseSimilarity)
    assert isinstance(model.image_encoder, encoder)
    assert model.name == str(tmp_path / kind)
    assert model.settings.prompts == prompts
    assert model.settings.short_side == 28 * 8
    assert model.settings.refine == "guided"
    picture = np.random.default_rng(0).integers(0, 256, (61, 95, 3), dtype=np.uint8)
    segmentation = model.segment(picture, ["cat", "dog", "sky"])
    assert segmentation.label_map.shape == (61, 95)
    assert segmentation.label_map.max() < 3


def test_a_native_grid_finer_than_28_patches_is_kept(tmp_path):
    save_tiny_siglip2(tmp_path)
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "model.safetensors")
    key = "vision_model.embeddings.position_embedding.weight"
    tensors[key] = tensors[key].repeat(64, 1)
    save_file(tensors, tmp_path / "model.safetensors")
    vision = json.loads((tmp_path / "config.json").read_text())["vision_config"]
    change_json(tmp_path / "config.json", vision_config={**vision, "num_patches": 1024})
    assert build_dense_similarity(str(tmp_path)).settings.short_side == 32 * 8


def test_the_hubs_cache_layout_loads(tmp_path):
    save_tiny_clip(tmp_path / "clip")
    snapshot = as_hub_cache(tmp_path / "clip", tmp_path, "someone/tiny")
    assert build_dense_similarity(str(snapshot)).stride == 8


def test_other_types_are_refused_with_the_supported_ones(tmp_path):
    save_tiny_clip(tmp_path / "clip")
    other = shutil.copytree(tmp_path / "clip", tmp_path / "other")
    change_json(other / "config.json", model_type="groupvit")
    with pytest.raises(
        CheckpointError, match="found model_type 'groupvit'; expected one of: clip, siglip, siglip2"
    ):
        build_dense_similarity(str(other))
