import json
import shutil
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.models.siglip import SiglipImageEncoder, SiglipTextEncoder, load_siglip
from tiny_checkpoints import change_json, save_tiny_siglip, save_tiny_siglip2

SIZES = [(32, 32), (48, 48), (40, 56), (8, 64), (16, 8)]


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, kind) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / kind
    (save_tiny_siglip if kind == "siglip" else save_tiny_siglip2)(folder)
    return folder


@pytest.fixture(scope="module")
def reference(folder, kind):
    from transformers import Siglip2Model, SiglipModel

    return (SiglipModel if kind == "siglip" else Siglip2Model).from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def encoders(folder) -> tuple[SiglipImageEncoder, SiglipTextEncoder]:
    return load_siglip(folder)


def see(reference, kind: str, images: Tensor):
    """Run transformers' own vision model; NaFlex wants flattened patches, a mask and the grid."""
    mean, std = torch.tensor([0.48, 0.46, 0.41]), torch.tensor([0.27, 0.26, 0.28])
    pixels = (images - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        if kind == "siglip":
            return reference.get_image_features(pixels, interpolate_pos_encoding=True)
        patches = rearrange(pixels, "b c (h p) (w q) -> b (h w) (p q c)", p=8, q=8)
        grid = torch.tensor([[images.shape[2] // 8, images.shape[3] // 8]] * len(images))
        mask = torch.ones(patches.shape[:2], dtype=torch.long)
        return reference.get_image_features(patches, pixel_attention_mask=mask, spatial_shapes=grid)


@pytest.mark.parametrize("size", SIZES)
def test_patches_are_the_values_of_the_pooling_head(folder, reference, kind, encoders, size):
    images = torch.rand(2, 3, *size)
    hidden = see(reference, kind, images).last_hidden_state
    raw = {
        name.removeprefix("vision_model.head."): value
        for name, value in load_file(folder / "model.safetensors").items()
        if name.startswith("vision_model.head.")
    }
    value_weight, value_bias = raw["attention.in_proj_weight"][64:], raw["attention.in_proj_bias"][64:]
    x = torch.einsum("bnd,ed->bne", hidden, value_weight) + value_bias
    x = torch.einsum("bnd,ed->bne", x, raw["attention.out_proj.weight"]) + raw["attention.out_proj.bias"]
    y = layer_norm(x, (32,), raw["layernorm.weight"], raw["layernorm.bias"], 1e-6)
    y = gelu(torch.einsum("bnd,ed->bne", y, raw["mlp.fc1.weight"]) + raw["mlp.fc1.bias"], approximate="tanh")
    expected = x + torch.einsum("bnd,ed->bne", y, raw["mlp.fc2.weight"]) + raw["mlp.fc2.bias"]

    features = encoders[0](images)
    assert features.grid == (size[0] // 8, size[1] // 8)
    torch.testing.assert_close(features.tokens, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_global_token_is_transformers_own_image_embedding(reference, kind, encoders, size):
    images = torch.rand(2, 3, *size)
    expected = see(reference, kind, images).pooler_output
    torch.testing.assert_close(encoders[0](images).global_token, expected, atol=1e-5, rtol=1e-4)


def test_a_single_patch_image_has_one_embedding(encoders):
    """The probe can attend to that patch alone, so its value is the pooled output."""
    features = encoders[0](torch.rand(1, 3, 8, 8))
    torch.testing.assert_close(features.tokens[:, 0], features.global_token, atol=1e-5, rtol=1e-4)


def test_an_image_alone_is_encoded_as_in_a_batch(encoders):
    images = torch.rand(3, 3, 24, 40)
    batch = encoders[0](images)
    for index in range(3):
        alone = encoders[0](images[index : index + 1])
        torch.testing.assert_close(alone.tokens[0], batch.tokens[index], atol=1e-5, rtol=1e-4)


def test_text_embeddings_are_transformers_own(folder, reference, kind, encoders):
    from transformers import PreTrainedTokenizerFast, Siglip2Tokenizer

    texts = ["a photo of a cat", "dog", "a"]
    if kind == "siglip":
        file = str(folder / "tokenizer.json")
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, pad_token="</s>", eos_token="</s>")
    else:
        tokenizer = Siglip2Tokenizer.from_pretrained(folder)
    length = encoders[1].max_tokens
    ids = tokenizer(texts, padding="max_length", max_length=length, return_tensors="pt").input_ids
    assert (ids[:, -1] == tokenizer.pad_token_id).all()
    with torch.no_grad():
        expected = reference.get_text_features(ids).pooler_output
    torch.testing.assert_close(encoders[1](texts), expected, atol=1e-5, rtol=1e-4)


def test_siglip_reads_lower_case_without_punctuation_and_siglip2_lower_case(kind, encoders):
    plain, capitals, stop = encoders[1](["a photo of a cat", "A Photo OF a CAT", "a photo of a cat."])
    torch.testing.assert_close(plain, capitals)
    assert torch.allclose(plain, stop, atol=1e-5) == (kind == "siglip")


def test_a_tokenizer_that_leaves_the_end_to_python_gets_it(folder, encoders, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "no-end")
    change_json(copy / "tokenizer.json", post_processor=None)
    torch.testing.assert_close(load_siglip(copy)[1](["a photo of a cat"]), encoders[1](["a photo of a cat"]))


def test_special_tokens_may_be_written_with_their_rules(folder, encoders, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "rules")
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    change_json(copy / "tokenizer_config.json", pad_token={"content": settings["pad_token"], "lstrip": True})
    assert load_siglip(copy)[1].pad_id == encoders[1].pad_id


def test_a_missing_padding_token_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "no-padding")
    change_json(copy / "tokenizer_config.json", pad_token=None)
    with pytest.raises(CheckpointError, match="found pad_token None, which"):
        load_siglip(copy)


def test_a_text_longer_than_the_model_reads_is_refused_with_both_counts(encoders):
    limit = encoders[1].max_tokens
    with pytest.raises(
        VocabularyError, match=rf"found \d+ tokens; expected at most {limit}, which is what the model"
    ):
        encoders[1](["a " * 40])


def test_a_vision_model_without_its_head_is_refused(folder, tmp_path):
    from safetensors.torch import save_file

    copy = shutil.copytree(folder, tmp_path / "no-head")
    vision = json.loads((copy / "config.json").read_text())["vision_config"]
    change_json(copy / "config.json", vision_config={**vision, "vision_use_head": False})
    tensors = load_file(copy / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if ".head." not in k or "text" in k}, copy / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match="a vision model without its pooling head"):
        load_siglip(copy)


def test_loading_says_nothing_about_fields_that_do_not_matter(folder, capfd):
    load_siglip(folder)
    written = capfd.readouterr()
    assert "bos_token_id" not in written.out + written.err
