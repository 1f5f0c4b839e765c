import json
import shutil

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image
from torch.nn.functional import normalize

from lexiseg.core.batch import Sample
from lexiseg.core.errors import CheckpointError
from lexiseg.core.interfaces import ImageTextModel
from lexiseg.data.images import load_image
from lexiseg.methods.dense_similarity import DenseSimilarity
from lexiseg.models.clip import ClipImageEncoder, ClipTextEncoder
from lexiseg.models.siglip import SiglipImageEncoder
from lexiseg.recipes.dense_similarity import VALUE_HEAD, build_dense_similarity
from lexiseg.runs.classification import ProbeSettings, classify_folders
from lexiseg.scoring.image_text import as_image_text_model, embed_pairs
from tiny_checkpoints import as_hub_cache, change_json, save_tiny_clip, save_tiny_siglip, save_tiny_siglip2

SHORT = ProbeSettings(num_epochs=2, warmup_epochs=1)
KINDS = {
    "clip": (save_tiny_clip, ClipImageEncoder, "imagenet80"),
    "siglip": (save_tiny_siglip, SiglipImageEncoder, "single"),
    "siglip2": (save_tiny_siglip2, SiglipImageEncoder, "single"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_checkpoint_segments_a_image(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    save, encoder, prompts = KINDS[kind]
    save(tmp_path / kind)
    model = build_dense_similarity(str(tmp_path / kind), VALUE_HEAD)
    assert isinstance(model, DenseSimilarity)
    assert isinstance(model.image_encoder, encoder)
    assert model.name == str(tmp_path / kind)
    assert model.settings.prompts == prompts
    assert model.settings.short_side == 28 * 8
    assert model.settings.refine == "guided"
    image = np.random.default_rng(0).integers(0, 256, (61, 95, 3), dtype=np.uint8)
    segmentation = model.segment(image, ["cat", "dog", "sky"])
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
        CheckpointError, match=r"found model_type 'groupvit', .*; expected one of: clip, siglip, siglip2"
    ):
        build_dense_similarity(str(other))


@pytest.mark.parametrize("kind", KINDS)
def test_whole_images_and_sentences_are_embedded_as_transformers_does(kind, tmp_path):
    import transformers

    save, _, _ = KINDS[kind]
    save(tmp_path)
    model = build_dense_similarity(str(tmp_path))
    assert isinstance(model, ImageTextModel)
    assert model.image_side == 32
    reference = getattr(transformers, json.loads((tmp_path / "config.json").read_text())["architectures"][0])
    reference = reference.from_pretrained(tmp_path).eval()
    images = torch.rand(2, 3, model.image_side, model.image_side)
    with torch.inference_mode():
        pixels = model.image_encoder.normalisation(images)
        if kind == "siglip2":
            patches = rearrange(pixels, "b c (h p) (w q) -> b (h w) (p q c)", p=8, q=8)
            shape = {
                "pixel_attention_mask": torch.ones(2, 16).long(),
                "spatial_shapes": torch.tensor([[4, 4]] * 2),
            }
            expected = reference.get_image_features(patches, **shape).pooler_output
        else:
            expected = reference.get_image_features(pixels).pooler_output
        found = model.encode_images(images).global_token
        torch.testing.assert_close(found, normalize(expected, dim=-1), atol=1e-5, rtol=1e-4)

        sentences = ["a photo of a cat", "the sky of a dog"]
        ids = token_ids(model.text_encoder, sentences)
        expected = reference.get_text_features(ids, attention_mask=torch.ones_like(ids)).pooler_output
        found = model.embed_sentences(sentences)
        torch.testing.assert_close(found, normalize(expected, dim=-1), atol=1e-5, rtol=1e-4)


def token_ids(encoder, sentences):
    """Give rows of equal length; the sentences have as many tokens each."""
    if isinstance(encoder, ClipTextEncoder):
        return torch.tensor([encoder.tokenizer.encode(text).ids for text in sentences])
    rows = [
        [*encoder.tokenizer.encode(text, add_special_tokens=False).ids, encoder.end_id] for text in sentences
    ]
    return torch.tensor([row + [encoder.pad_id] * (encoder.max_tokens - len(row)) for row in rows])


@pytest.mark.parametrize("kind", KINDS)
def test_retrieval_and_classification_take_every_kind_of_checkpoint(kind, tmp_path):
    save, _, _ = KINDS[kind]
    model = build_dense_similarity(str(save(tmp_path / "model")))
    for name in ("cat", "dog"):
        for index in range(2):
            image = np.random.default_rng(index).integers(0, 256, (40, 30, 3), dtype=np.uint8)
            path = tmp_path / "images" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    samples = [
        Sample(image=load_image(path), source=path, captions=(f"a photo of a {path.parent.name}",))
        for path in sorted((tmp_path / "images").rglob("*.png"))
    ]
    pairs = embed_pairs(as_image_text_model(model), samples)
    for rows in (pairs.images, pairs.texts):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(pairs.images[0], pairs.images[2])  # equal images under two names
    found = classify_folders(model, tmp_path / "images", train=tmp_path / "images", views=1, probe=SHORT)
    assert found["zero-shot"][1] == 0.5, "equal images are called alike"
    assert set(found) == {"zero-shot", "linear probe", "logistic regression"}
