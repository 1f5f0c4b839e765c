"""Tiny random checkpoints in the exact layout of the hub, made by transformers' own ``save_pretrained``."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

IMAGE_MEAN = [0.48, 0.46, 0.41]
IMAGE_STD = [0.27, 0.26, 0.28]
WORDS = [
    "a",
    "photo",
    "of",
    "cat",
    "dog",
    "grass",
    "sky",
    "the",
    "bad",
    "itap",
    "origami",
    "art",
    "video",
    "game",
]

TRANSFORMER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


def save_tiny_clip(folder: Path, *, dtype: torch.dtype = torch.float32, **save_options: Any) -> Path:
    """Save a ``CLIPModel`` of 3 layers, patch 8, native 32×32, with a byte-level tokenizer of CLIP's kind."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    tokenizer = CLIPTokenizer(**byte_pairs())
    config = CLIPConfig(
        text_config={
            **TRANSFORMER,
            "hidden_size": 24,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={**TRANSFORMER, "image_size": 32, "patch_size": 8},
        projection_dim=20,
    )
    model = randomised(CLIPModel(config)).to(dtype)
    model.save_pretrained(folder, **save_options)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(image_mean=IMAGE_MEAN, image_std=IMAGE_STD).save_pretrained(folder)
    return folder


def save_tiny_siglip(folder: Path) -> Path:
    """Save a ``SiglipModel`` of 3 layers, patch 8, native 32×32, with a word-level tokenizer."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    tokenizer = _word_level()
    config = SiglipConfig(
        text_config={**TRANSFORMER, "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 16},
        vision_config={**TRANSFORMER, "image_size": 32, "patch_size": 8},
    )
    model = randomised(SiglipModel(config))
    model.save_pretrained(folder)
    SiglipImageProcessor(image_mean=IMAGE_MEAN, image_std=IMAGE_STD).save_pretrained(folder)
    # transformers writes this class only with sentencepiece; the hub's folders hold these two files.
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "SiglipTokenizer",
        "pad_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def save_tiny_siglip2(folder: Path) -> Path:
    """Save a NaFlex ``Siglip2Model`` of 3 layers, patch 8, 4×4 positions, with its Gemma-like tokenizer."""
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model, Siglip2Tokenizer

    special = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz.,!"]
    vocab = {**special, **{letter: index for index, letter in enumerate(letters, start=len(special))}}
    tokenizer = Siglip2Tokenizer(
        vocab=vocab, merges=[], padding_side="right", model_input_names=["input_ids"]
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    config = Siglip2Config(
        text_config={**TRANSFORMER, "vocab_size": len(vocab), "max_position_embeddings": 32},
        vision_config={**TRANSFORMER, "num_patches": 16, "patch_size": 8},
    )
    model = randomised(Siglip2Model(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Siglip2ImageProcessor(image_mean=IMAGE_MEAN, image_std=IMAGE_STD, patch_size=8).save_pretrained(folder)
    return folder


def as_hub_cache(folder: Path, home: Path, name: str) -> Path:
    """Lay out a checkpoint folder as the hub's cache has it (blobs and links); give the snapshot."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for index, file in enumerate(sorted(folder.iterdir())):
        blob = repository / "blobs" / f"{index:040x}"
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def write_json(path: Path, content: object) -> None:
    """Write a settings file."""
    path.write_text(json.dumps(content), encoding="utf-8")


def change_json(path: Path, **changes: object) -> None:
    """Replace fields of a settings file; None removes one."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    write_json(path, {key: value for key, value in content.items() if value is not None})


def randomised(model: nn.Module) -> nn.Module:
    """Fill every parameter with noise: biases and norms too, or mistakes in them would not show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(1 + 0.2 * noise if is_scale else 0.2 * noise)
    return model.eval()


def byte_pairs() -> dict[str, Any]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("o", "f</w>")]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return {"vocab": {piece: index for index, piece in enumerate(pieces)}, "merges": merges}


def _word_level() -> Tokenizer:
    pieces = ["<unk>", "</s>", *(f"▁{word}" for word in WORDS)]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer
