import importlib.util
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import CheckpointError, MissingPackageError, VocabularyError
from lexiseg.models.cross_attention import CrossAttentionRecorder
from lexiseg.models.stable_diffusion import load_stable_diffusion
from tiny_checkpoints import change_json, write_json
from tiny_vision_checkpoints import save_tiny_dinov2, save_tiny_sam, save_tiny_stable_diffusion

pytest.importorskip("diffusers", reason="diffusers is absent: generating reference images was not tried")

PROMPT = "a photo of a cat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("checkpoints") / "diffusion")


@pytest.fixture(scope="module")
def model(folder):
    return load_stable_diffusion(folder)


@pytest.fixture(scope="module")
def pipeline(folder):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=77),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stored_attention(pipeline, seed, steps):
    """Run diffusers' pipeline with plain attention, keep every probability, and give image and maps."""
    from diffusers.models.attention_processor import Attention, AttnProcessor

    kept: dict[int, list[torch.Tensor]] = {}
    original = Attention.get_attention_scores

    def scores(self, query, key, mask=None):
        shares = original(self, query, key, mask)
        if key.shape[1] == 77:
            kept.setdefault(id(self), []).append(shares[len(shares) // 2 :])
        return shares

    before = pipeline.unet.attn_processors
    pipeline.unet.set_attn_processor(AttnProcessor())
    Attention.get_attention_scores = scores
    try:
        latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
        image = pipeline(
            PROMPT, latents=latents, num_inference_steps=steps, guidance_scale=7.5, output_type="np"
        ).images[0]
    finally:
        Attention.get_attention_scores = original
        pipeline.unet.set_attn_processor(before)
    return image, list(kept.values())


def test_the_image_is_the_one_of_diffusers_pipeline(model, pipeline):
    expected, _ = stored_attention(pipeline, seed=3, steps=4)
    drawn = model.generate(PROMPT, "cat", seed=3, steps=4)
    assert drawn.image.shape == (32, 32, 3)
    assert expected.std() > 0.01
    assert np.abs(drawn.image / 255 - expected).max() < 0.01


def test_the_map_is_the_mean_over_steps_heads_and_layers_of_the_conditional_half(model, pipeline):
    _, layers = stored_attention(pipeline, seed=3, steps=4)
    (token,) = model.name_tokens(PROMPT, "cat")
    maps = []
    for steps in layers:
        assert len(steps) == 4
        torch.testing.assert_close(steps[0].sum(2), torch.ones(steps[0].shape[:2]))
        mean = torch.stack(steps).mean(0)[:, :, token]
        side = round(mean.shape[1] ** 0.5)
        shaped = mean.reshape(len(mean), 1, side, side)
        maps.append(torch.nn.functional.interpolate(shaped, (16, 16), mode="bilinear")[:, 0])
    expected = torch.cat(maps).mean(0)
    found = torch.from_numpy(model.generate(PROMPT, "cat", seed=3, steps=4).attention)
    assert found.std() > 0
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_layers_at_an_eighth_of_the_side_are_left_out():
    recorder = CrossAttentionRecorder([1], (16, 16))
    recorder.sums = {"coarse": torch.ones(2, 2, 2), "fine": torch.full((3, 4, 4), 0.5)}
    recorder.steps = {"coarse": 1, "fine": 5}
    torch.testing.assert_close(recorder.heat_map(), torch.full((16, 16), 0.1))


def test_every_map_of_a_layer_and_head_has_the_same_weight():
    recorder = CrossAttentionRecorder([1], (8, 8))
    recorder.sums = {"many heads": torch.ones(3, 8, 8), "one head": torch.zeros(1, 4, 4)}
    recorder.steps = {"many heads": 1, "one head": 1}
    torch.testing.assert_close(recorder.heat_map(), torch.full((8, 8), 0.75))


def test_watching_changes_nothing_and_ends(model):
    once, again = (model.generate(PROMPT, "cat", seed=1, steps=2) for _ in range(2))
    assert np.array_equal(once.image, again.image)
    assert np.array_equal(once.attention, again.attention)
    assert not any(module._forward_pre_hooks for module in model.denoiser.modules())
    other = model.generate(PROMPT, "cat", seed=2, steps=2)
    assert not np.array_equal(once.image, other.image)
    assert (once.seed, other.seed) == (1, 2)


def test_the_tokens_of_the_name_are_found(model):
    ids = model.tokenizer.encode("a photo of a cat dog").ids
    (cat,) = model.name_tokens("a photo of a cat dog", "cat")
    both = model.name_tokens("a photo of a cat dog", "cat dog")
    assert model.tokenizer.id_to_token(ids[cat]) == "cat</w>"
    assert both == [cat, cat + 1]
    with pytest.raises(VocabularyError) as caught:
        model.name_tokens(PROMPT, "dog")
    assert str(caught.value) == (
        "looking for 'dog' in the prompt 'a photo of a cat': found no such words; expected a prompt that "
        "contains the name of the class. Put {} where the name belongs, as in 'a photo of a {}'."
    )


def test_the_last_word_may_be_recorded_alone(model):
    prompt = "a photo of a cat dog"
    alone = model.generate(prompt, "dog", seed=1, steps=2)
    last = model.generate(prompt, "cat dog", seed=1, steps=2, tokens="last word")
    whole = model.generate(prompt, "cat dog", seed=1, steps=2)
    assert np.array_equal(alone.attention, last.attention)
    assert not np.array_equal(whole.attention, last.attention)


def test_a_black_image_is_known(model):
    drawn = model.generate(PROMPT, "cat", seed=1, steps=2)
    assert not drawn.is_black
    assert replace(drawn, image=np.zeros_like(drawn.image)).is_black


def test_decoders_in_their_old_names_load_alike(folder, model, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "old")
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    pairs = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old(name: str) -> str:
        for new, before in pairs.items():
            name = name.replace(f".{new}.", f".{before}.") if ".attentions." in name else name
        return name

    tensors = {old(name): value for name, value in load_file(file).items()}
    assert any(".proj_attn." in name for name in tensors)
    save_file(tensors, file)
    drawn = load_stable_diffusion(copy).generate(PROMPT, "cat", seed=1, steps=2)
    assert np.array_equal(drawn.image, model.generate(PROMPT, "cat", seed=1, steps=2).image)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_missing_tensor_of_any_part_is_named(folder, tmp_path, part):
    copy = shutil.copytree(folder, tmp_path / "broken")
    (file,) = (copy / part).glob("*.safetensors")
    tensors = load_file(file)
    name = sorted(tensors)[0]
    del tensors[name]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match="1 that do not fit") as caught:
        load_stable_diffusion(copy)
    assert f"{copy / part}" in str(caught.value)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"{file.name}: found no such file"):
        load_stable_diffusion(copy)


def test_without_diffusers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install \"lexiseg\[diffusion\]\""):
        load_stable_diffusion(folder)


OTHER_FOLDERS = {
    "sam": (
        save_tiny_sam,
        r"found a checkpoint with model_type 'sam', which gives masks under points \(SAM\); expected a",
    ),
    "dinov2": (save_tiny_dinov2, r"found a checkpoint with model_type 'dinov2', which gives images alone"),
    "empty": (
        lambda folder: folder,
        "found no folder unet, vae, text_encoder, tokenizer, scheduler; expected a",
    ),
}


@pytest.mark.parametrize("kind", OTHER_FOLDERS)
def test_another_kind_of_folder_is_said_to_be_one(kind, tmp_path):
    save, said = OTHER_FOLDERS[kind]
    with pytest.raises(CheckpointError, match=said) as caught:
        load_stable_diffusion(save(tmp_path))
    assert "Choose a folder such as that of stable-diffusion-v1-5" in str(caught.value)


def test_the_pad_token_of_special_tokens_map_is_the_one_used(folder, tmp_path):
    """Stable Diffusion 2 pads with "!", which only that file says."""
    copy = shutil.copytree(folder, tmp_path / "padded")
    change_json(copy / "tokenizer" / "tokenizer_config.json", added_tokens_decoder=None)
    write_json(copy / "tokenizer" / "special_tokens_map.json", {"pad_token": "!"})
    loaded = load_stable_diffusion(copy)
    assert loaded.pad_id == loaded.tokenizer.token_to_id("!")
    assert loaded.pad_id != load_stable_diffusion(folder).pad_id
