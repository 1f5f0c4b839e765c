"""Every loader on the files that are really published: their names, shapes and dtypes, not a fresh save's."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lexiseg.models import checkpoint
from lexiseg.models.backbones import load_resnet, load_swin
from lexiseg.models.clip import load_clip
from lexiseg.models.dino import load_dino
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.groupvit_checkpoint import load_groupvit
from lexiseg.models.maskformer_checkpoint import load_maskformer
from lexiseg.models.sam import load_sam
from lexiseg.models.sam2 import load_sam2
from lexiseg.models.siglip import load_siglip
from lexiseg.models.stable_diffusion import load_stable_diffusion
from published_checkpoints import PUBLISHED, PublishedCheckpoint

LOADERS: dict[str, Callable[[Path], Any]] = {
    "clip": load_clip,
    "dino": load_dino,
    "dinov2": load_dinov2,
    "maskformer": load_maskformer,
    "resnet": load_resnet,
    "sam": load_sam,
    "sam2": load_sam2,
    "siglip": load_siglip,
    "stable_diffusion": load_stable_diffusion,
    "swin": load_swin,
}
#: Published and written down; the small forms of GroupViT and SAM 3 are in their own tests.
WITHOUT_LOADER = {"groupvit_gcc_yfcc", "sam3"}

#: Where a tensor of the file ends up, and which part of it: one for every renaming.
LANDED = {
    "clip_openai_b16": {
        "text_model.encoder.layers.7.mlp.fc1.weight": "1.text.encoder.layers.7.mlp.fc1.weight",
        "vision_model.embeddings.position_embedding.weight": "0.vision.embeddings.position_embedding.weight",
    },
    "dino_vitb16": {
        "encoder.layer.3.attention.attention.key.bias": "vision.layers.3.attention.k_proj.bias",
        "encoder.layer.3.attention.output.dense.weight": "vision.layers.3.attention.o_proj.weight",
        "encoder.layer.3.intermediate.dense.bias": "vision.layers.3.mlp.fc1.bias",
        "encoder.layer.3.output.dense.weight": "vision.layers.3.mlp.fc2.weight",
    },
    "dinov2_base": {
        "encoder.layer.5.attention.attention.value.weight": "vision.encoder.layer.5.attention.v_proj.weight",
        "encoder.layer.5.attention.output.dense.bias": "vision.encoder.layer.5.attention.o_proj.bias",
    },
    "stable_diffusion_1_5": {
        "text_model.encoder.layers.0.layer_norm1.bias": "text.encoder.layers.0.layer_norm1.bias",
        "decoder.mid_block.attentions.0.proj_attn.weight": "decoder.decoder.mid_block.attentions.0.to_out.0.weight",
        "encoder.mid_block.attentions.0.query.bias": "decoder.encoder.mid_block.attentions.0.to_q.bias",
        "mid_block.attentions.0.proj_in.weight": "denoiser.mid_block.attentions.0.proj_in.weight",
    },
}


def readable() -> list[PublishedCheckpoint]:
    """Give those with a loader; Stable Diffusion only where diffusers is installed."""
    skip = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers is absent")
    return [
        pytest.param(
            published, id=published.name, marks=[skip] if "diffusion" in published.facts["loader"] else []
        )
        for published in PUBLISHED
        if published.name not in WITHOUT_LOADER
    ]


def test_every_loader_has_a_published_checkpoint_and_every_checkpoint_a_loader_or_a_word():
    said = {published.name: published.facts["loader"] for published in PUBLISHED}
    assert {loader for loader in said.values() if not loader.startswith("none")} == LOADERS.keys()
    assert {name for name, loader in said.items() if loader.startswith("none")} == WITHOUT_LOADER
    assert all(published.tensors and published.files for published in PUBLISHED)
    assert all(
        published.facts.keys() == {"repository", "revision", "source", "loader"} for published in PUBLISHED
    )


@pytest.mark.parametrize("published", readable())
def test_the_published_headers_fit_the_published_settings(published, tmp_path, monkeypatch):
    """At full size, without the values: what is compared is what the hub has."""
    fitted = []

    def stop_at_the_values(folder, model, files, **rest):
        fitted.append(files)
        return model

    monkeypatch.setattr(checkpoint, "fill_model", stop_at_the_values)
    published.write_headers(tmp_path)
    LOADERS[published.facts["loader"]](tmp_path)
    assert len(fitted) == len(published.tensors)


@pytest.mark.parametrize("published", readable())
def test_a_published_folder_loads_with_the_values_of_its_file(published, tmp_path):
    written = published.write_small(tmp_path)
    loaded = LOADERS[published.facts["loader"]](tmp_path)
    parts = loaded if isinstance(loaded, tuple) else (getattr(loaded, "network", loaded),)
    state = {
        f"{index}.{name}" if len(parts) > 1 else name: value
        for index, part in enumerate(parts)
        for name, value in part.state_dict().items()
    }
    assert not any(value.is_meta for part in parts for value in [*part.parameters(), *part.buffers()])
    values = {name: value for tensors in written.values() for name, value in tensors.items()}
    for theirs, ours in LANDED.get(published.name, {}).items():
        assert torch.equal(state[ours], values[theirs]), theirs


@pytest.mark.parametrize("name", ["stable_diffusion_1_5", "clip_openai_b32", "dinov2_base", "sam_vit_base"])
def test_a_folder_with_only_the_half_precision_copy_loads_in_full_precision(name, tmp_path):
    (published,) = [published for published in PUBLISHED if published.name == name]
    published.write_small(tmp_path, variant="fp16")
    with pytest.warns(UserWarning, match="has its weights only as a fp16 copy; they are read into float32"):
        loaded = LOADERS[published.facts["loader"]](tmp_path)
    parts = loaded if isinstance(loaded, tuple) else (loaded,)
    assert {value.dtype for part in parts for value in part.parameters()} == {torch.float32}


def test_the_published_headers_of_groupvit_fit_its_settings(tmp_path, monkeypatch):
    (published,) = [published for published in PUBLISHED if published.name == "groupvit_gcc_yfcc"]
    fitted = []
    monkeypatch.setattr(
        checkpoint, "fill_model", lambda folder, model, files, **rest: fitted.append(files) or model
    )
    # The tokenizer written here is small, and ends texts with another id than the published one.
    monkeypatch.setattr("lexiseg.models.groupvit_checkpoint.check_end_token", lambda *given: None)
    published.write_headers(tmp_path)
    load_groupvit(tmp_path)
    assert len(fitted) == 1
