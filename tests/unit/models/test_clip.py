import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import layer_norm

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.models.clip import ClipImageEncoder, ClipTextEncoder, load_clip
from tiny_checkpoints import change_json, save_tiny_clip, write_json

VOCABULARY = (
    Path(__file__).parents[3].parent / "shared/data/clip-vocab-and-prompts/clip/bpe_simple_vocab_16e6.txt.gz"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "clip"
    save_tiny_clip(folder)
    return folder


@pytest.fixture(scope="module")
def reference(folder):
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def encoders(folder) -> tuple[ClipImageEncoder, ClipTextEncoder]:
    return load_clip(folder)


def normalised(images: Tensor) -> Tensor:
    mean, std = torch.tensor([0.48, 0.46, 0.41]), torch.tensor([0.27, 0.26, 0.28])
    return (images - mean[:, None, None]) / std[:, None, None]


SIZES = [(32, 32), (48, 48), (40, 56), (8, 64), (16, 8), (64, 16)]


@pytest.mark.parametrize("size", SIZES)
def test_patches_are_the_projected_values_of_the_last_block(folder, reference, encoders, size):
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        hidden = reference.vision_model(
            normalised(images), interpolate_pos_encoding=True, output_hidden_states=True
        ).hidden_states[-2]
    raw = load_file(folder / "model.safetensors")
    block = "vision_model.encoder.layers.2"
    x = layer_norm(hidden, (32,), raw[f"{block}.layer_norm1.weight"], raw[f"{block}.layer_norm1.bias"], 1e-5)
    for part in ("v_proj", "out_proj"):
        x = torch.einsum("bnd,ed->bne", x, raw[f"{block}.self_attn.{part}.weight"])
        x = x + raw[f"{block}.self_attn.{part}.bias"]
    x = layer_norm(
        x, (32,), raw["vision_model.post_layernorm.weight"], raw["vision_model.post_layernorm.bias"], 1e-5
    )
    expected = torch.einsum("bnd,pd->bnp", x[:, 1:], raw["visual_projection.weight"])

    features = encoders[0](images)
    assert features.grid == (size[0] // 8, size[1] // 8)
    assert features.stride == encoders[0].stride == 8
    torch.testing.assert_close(features.tokens, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_global_token_is_transformers_own_image_embedding(reference, encoders, size):
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = reference.get_image_features(
            normalised(images), interpolate_pos_encoding=True
        ).pooler_output
    torch.testing.assert_close(encoders[0](images).global_token, expected, atol=1e-5, rtol=1e-4)


def test_at_the_native_size_nothing_is_interpolated(reference, encoders):
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = reference.get_image_features(normalised(images)).pooler_output
    torch.testing.assert_close(encoders[0](images).global_token, expected, atol=1e-5, rtol=1e-4)
    assert encoders[0].native_grid == (4, 4)


def test_an_image_alone_is_encoded_as_in_a_batch(encoders):
    images = torch.rand(3, 3, 24, 40)
    batch = encoders[0](images)
    for index in range(3):
        alone = encoders[0](images[index : index + 1])
        torch.testing.assert_close(alone.tokens[0], batch.tokens[index], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.global_token[0], batch.global_token[index], atol=1e-5, rtol=1e-4)


TEXTS = ["a photo of a cat.", "DOG", "a", 'it\'s a {} in "quotes"', "🐱 élan", "a  b\nc"]


def test_text_embeddings_are_transformers_own(folder, reference, encoders):
    from transformers import CLIPTokenizer

    inputs = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = reference.get_text_features(**inputs).pooler_output
    torch.testing.assert_close(encoders[1](TEXTS), expected, atol=1e-5, rtol=1e-4)


def test_a_text_alone_is_encoded_as_in_a_batch(encoders):
    batch = encoders[1](TEXTS)
    for index, text in enumerate(TEXTS):
        torch.testing.assert_close(encoders[1]([text])[0], batch[index], atol=1e-5, rtol=1e-4)


def test_a_text_longer_than_the_model_reads_is_refused_with_both_counts(encoders):
    encoders[1](["o" * 75])
    with pytest.raises(VocabularyError) as caught:
        encoders[1](["cat", "o" * 76])
    assert str(caught.value) == (
        f"encoding the text {'o' * 60 + '…'!r}: found 78 tokens; expected at most 77, which is what the "
        "model reads (start and end included). Use a shorter name, or a prompt set with shorter "
        "sentences such as bare."
    )


def test_the_encoders_are_frozen_and_in_evaluation_mode(encoders):
    for encoder in encoders:
        assert not encoder.training
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())
        assert not any(value.is_meta for value in [*encoder.parameters(), *encoder.buffers()])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_loaded_as_float32(tmp_path, dtype):
    image, text = load_clip(save_tiny_clip(tmp_path, dtype=dtype))
    stored = load_file(tmp_path / "model.safetensors")["visual_projection.weight"]
    assert stored.dtype == dtype
    assert {parameter.dtype for parameter in image.parameters()} == {torch.float32}
    assert torch.equal(image.projection.weight, stored.float())
    assert text(["cat"]).dtype == torch.float32


def test_sharded_checkpoints_load_alike(tmp_path, encoders):
    save_tiny_clip(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    image, text = load_clip(tmp_path)
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(image(images).tokens, encoders[0](images).tokens)
    assert text.fingerprint == encoders[1].fingerprint


def test_the_fingerprint_follows_weights_and_tokenizer_but_not_the_folder(folder, encoders, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    _, text = load_clip(copy)
    assert text.fingerprint == encoders[1].fingerprint
    _, changed = load_clip(copy)
    changed.text.final_layer_norm.bias[0] += 1e-3
    assert changed.fingerprint != encoders[1].fingerprint
    settings = json.loads((copy / "tokenizer.json").read_text())
    settings["model"]["merges"].pop()
    write_json(copy / "tokenizer.json", settings)
    assert load_clip(copy)[1].fingerprint != encoders[1].fingerprint


def test_old_folders_with_vocabulary_and_merges_load_alike(folder, encoders, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "old")
    model = json.loads((copy / "tokenizer.json").read_text())["model"]
    (copy / "tokenizer.json").unlink()
    write_json(copy / "vocab.json", model["vocab"])
    lines = [
        "#version: 0.2",
        *(pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]),
    ]
    (copy / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    torch.testing.assert_close(load_clip(copy)[1](TEXTS), encoders[1](TEXTS))


def test_old_checkpoints_that_store_position_ids_and_end_token_two_load_alike(folder, encoders, tmp_path):
    from safetensors.torch import save_file

    copy = shutil.copytree(folder, tmp_path / "old")
    tensors = load_file(copy / "model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(tensors, copy / "model.safetensors")
    text_config = json.loads((copy / "config.json").read_text())["text_config"]
    change_json(copy / "config.json", text_config={**text_config, "eos_token_id": 2})
    torch.testing.assert_close(load_clip(copy)[1](TEXTS), encoders[1](TEXTS))


def test_a_tokenizer_that_does_not_end_texts_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "broken")
    change_json(copy / "tokenizer.json", post_processor=None)
    with pytest.raises(
        CheckpointError, match=r"token ids \[\d+\] for the text 'a'; expected a start token"
    ) as caught:
        load_clip(copy)
    assert "Take tokenizer.json and config.json from the same checkpoint." in str(caught.value)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "broken")
    settings = json.loads((copy / "tokenizer.json").read_text())
    settings["model"]["vocab"]["zebra</w>"] = 9999
    write_json(copy / "tokenizer.json", settings)
    with pytest.raises(CheckpointError, match="found token id 9999; expected ids below 519"):
        load_clip(copy)


def test_another_kind_of_model_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "other")
    change_json(copy / "config.json", model_type="gpt2")
    with pytest.raises(CheckpointError, match="found model_type 'gpt2'; expected one of: clip"):
        load_clip(copy)


def test_the_published_vocabulary_gives_the_published_token_ids(tmp_path):
    if not VOCABULARY.exists():
        pytest.skip(f"{VOCABULARY} is absent: CLIP's real vocabulary was not tried")
    from lexiseg.models.text_tokens import load_tokenizer, tokenize

    with gzip.open(VOCABULARY, "rt", encoding="utf-8") as lines:
        merges = [tuple(line.split()) for line in lines.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
    # CLIP orders its 256 bytes as the visible ones first, then those it has to rename.
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in visible] + [chr(256 + index) for index in range(256 - len(visible))]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    write_json(tmp_path / "vocab.json", {piece: index for index, piece in enumerate(pieces)})
    text = "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges)
    (tmp_path / "merges.txt").write_text(text, encoding="utf-8")
    # The ids of this sentence are in the documentation of CLIP everywhere.
    encoded = tokenize(load_tokenizer(tmp_path), ["a photo of a cat"], max_tokens=77)
    assert encoded == [[49406, 320, 1125, 539, 320, 2368, 49407]]
