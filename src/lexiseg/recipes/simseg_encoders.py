"""The two encoders that SimSeg is fine-tuned from: loaded by name, described for the run, built again from that.

An image encoder is EfficientNet-Lite0, a checkpoint of one of ``IMAGE_KINDS``, or that of an earlier run of SimSeg; a text
encoder all-MiniLM-L6-v2, a checkpoint of one of ``TEXT_KINDS``, or that of an earlier run. A description is JSON and
holds no weights: these are in the run.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError, InputError, LexisegError
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.json_text import decode_json, read_json_file
from lexiseg.engine.loop import load_final
from lexiseg.models.backbones import build_backbone, describe_backbone
from lexiseg.models.bert import SPECIAL_TOKENS, Bert, BertShape, WordPieceTokenizer, WordTokenizer, load_bert
from lexiseg.models.checkpoint import read_config
from lexiseg.models.clip import (
    ClipImageEncoder,
    ClipTokens,
    build_clip_image_encoder,
    build_clip_tokens,
    load_clip,
    load_clip_tokens,
)
from lexiseg.models.dino import DinoImageEncoder, build_dino, load_dino
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.minilm import TOKENIZER, WEIGHTS
from lexiseg.models.pyramid_tokens import PyramidTokens, freeze_idle
from lexiseg.models.siglip import SiglipImageEncoder, build_siglip_image_encoder, load_siglip
from lexiseg.models.text_tokens import BytePairTokenizer, CaptionTokenizer, TokenEncoder
from lexiseg.models.vit import VisionTransformer, ViTShape
from lexiseg.recipes.backbone import EFFICIENTNET, LOADERS, TINY_BACKBONE, find_checkpoint, load_backbone
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe

MINILM = "all-minilm-l6-v2"
MINILM_SHAPE = BertShape(width=384, depth=6, num_heads=12, drop_rate=0.0)

_TOKENS: dict[str, Callable[[Path], ImageEncoder]] = {
    "clip": lambda folder: load_clip(folder)[0],
    "siglip": lambda folder: load_siglip(folder)[0],
    "siglip2": lambda folder: load_siglip(folder)[0],
    "vit": load_dino,
}
#: Model types of checkpoints that image encoders are taken from.
IMAGE_KINDS = (*LOADERS, *_TOKENS)
#: The same of text encoders.
TEXT_KINDS: dict[str, Callable[..., TokenEncoder]] = {"bert": load_bert, "clip": load_clip_tokens}


def load_image_encoder(name: str, *, stride: int, whole: bool) -> ImageEncoder:
    """Load an image encoder with its weights, ready to be trained.

    Args:
        name: ``efficientnet-lite0``, a hub id or folder, or the folder of a finished run of SimSeg.
        stride: Wanted pixels per token, of a backbone with several maps.
        whole: Its global token is what will be used, not the patches.

    Raises:
        InputError: The folder is a run of something else, or the encoder has no global token and ``whole`` is set.
        MissingWeightsError: There is no such checkpoint here.
        CheckpointError: It is of another type, or damaged.
    """
    if _is_run(name):
        described, weights = _of_run(Path(name).expanduser(), "image_encoder")
        encoder = build_image_encoder(described, stride=described.get("token_stride", stride))
        _fill(encoder, weights, name)
    elif name in (TINY_BACKBONE, EFFICIENTNET):
        encoder = PyramidTokens(load_backbone(name), stride)
    else:
        folder, kind = find_checkpoint(name, IMAGE_KINDS, flag="--image-encoder")
        encoder = PyramidTokens(LOADERS[kind](folder), stride) if kind in LOADERS else _TOKENS[kind](folder)
    if whole and isinstance(encoder, PyramidTokens):
        raise InputError(
            doing=f"beginning from the image encoder {name}",
            found="method.training.pooling = 'cls', and an encoder without a class token",
            expected="pooling topk or mean, or an encoder with a class token: CLIP, SigLIP, DINO, a run of a ViT",
            fix="Leave --method.training.pooling out, or choose another --image-encoder.",
        )
    if not isinstance(encoder, PyramidTokens):  # which has done so
        freeze_idle(encoder.requires_grad_(True), 2 * encoder.stride, whole=whole)
    return encoder


def token_width(encoder: ImageEncoder) -> int:
    """Return the length of an encoder's tokens."""
    match encoder:
        case PyramidTokens() | VisionTransformer():
            return encoder.width
        case ClipImageEncoder():
            return len(cast(Tensor, encoder.projection.weight))
        case SiglipImageEncoder() | DinoImageEncoder():
            return int(encoder.vision.config.hidden_size)
    raise TypeError(f"{type(encoder).__name__} is none of the image encoders here")


def describe_image_encoder(encoder: ImageEncoder) -> dict[str, Any]:
    """Describe an image encoder of this file, without its weights and as JSON has it."""
    match encoder:
        case PyramidTokens():
            return describe_backbone(encoder.backbone) | {"token_stride": encoder.stride}
        case VisionTransformer():
            return {"model_type": "plain_vit", "shape": asdict(encoder.shape)}
        case ClipImageEncoder():
            return _config(encoder.vision) | {"token_width": token_width(encoder)}
        case SiglipImageEncoder() | DinoImageEncoder():
            return _config(encoder.vision)
    raise TypeError(f"{type(encoder).__name__} is none of the image encoders here")


def build_image_encoder(described: Mapping[str, Any], *, stride: int) -> ImageEncoder:
    """Build an image encoder from its description, with weights that mean nothing.

    Raises:
        KeyError: A part of the description is missing; ``TypeError`` and ``ValueError`` likewise.
    """
    match described["model_type"]:
        case "plain_vit":
            return VisionTransformer(ViTShape(**described["shape"]))
        case "clip_vision_model":
            return build_clip_image_encoder(described, described["token_width"])
        case "siglip_vision_model" | "siglip2_vision_model":
            return build_siglip_image_encoder(described)
        case "vit":
            return build_dino(described)
    backbone = {name: value for name, value in described.items() if name != "token_stride"}
    return PyramidTokens(build_backbone(backbone), described.get("token_stride", stride))


def load_text_encoder(name: str, *, max_tokens: int) -> TokenEncoder:
    """Load a text encoder with its weights, ready to be trained.

    Args:
        name: ``all-minilm-l6-v2``, a hub id or folder of a BERT or CLIP, or the folder of a finished run of SimSeg.
        max_tokens: Tokens of a sentence at most; that of a run reads as many as it did there.

    Raises:
        InputError: The folder is a run of something else.
        MissingWeightsError: There is no such checkpoint here.
        CheckpointError: It is of another type, or damaged.
    """
    if name == MINILM:
        encoder: TokenEncoder = _minilm(max_tokens)
        encoder.load_published(load_file(WEIGHTS.verified_path()), WEIGHTS.verified_path())  # type: ignore[operator]
    elif _is_run(name):
        described, weights = _of_run(Path(name).expanduser(), "text_encoder")
        encoder = build_text_encoder(described)
        _fill(encoder, weights, name)
    else:
        folder = resolve_checkpoint(name)
        encoder = TEXT_KINDS[read_config(folder, tuple(TEXT_KINDS))["model_type"]](
            folder, max_tokens=max_tokens
        )
    return encoder.requires_grad_(True)


def load_caption_tokenizer(name: str) -> CaptionTokenizer:
    """Load the tokenizer of a text encoder alone; arguments and errors are those of ``load_text_encoder``."""
    if name == MINILM:
        return WordPieceTokenizer(TOKENIZER.verified_path())
    if _is_run(name):
        return _tokenizer(**_of_run(Path(name).expanduser(), "text_encoder")[0]["tokenizer"])
    folder = resolve_checkpoint(name)
    if read_config(folder, tuple(TEXT_KINDS))["model_type"] == "clip":
        return BytePairTokenizer(folder)
    return WordPieceTokenizer(folder / "tokenizer.json")


def describe_text_encoder(encoder: TokenEncoder) -> dict[str, Any]:
    """Describe a text encoder of this file with its tokenizer, without its weights and as JSON has it."""
    tokenizer = {"kind": type(encoder.tokenizer).__name__, "content": encoder.tokenizer.identity}
    match encoder:
        case Bert():
            return {"model_type": "bert", "shape": asdict(encoder.shape), "tokenizer": tokenizer}
        case ClipTokens():
            return _config(encoder.text) | {"max_tokens": encoder.max_tokens, "tokenizer": tokenizer}
    raise TypeError(f"{type(encoder).__name__} is none of the text encoders here")


def build_text_encoder(described: Mapping[str, Any]) -> TokenEncoder:
    """Build a text encoder from its description, with weights that mean nothing.

    Raises:
        KeyError: A part of the description is missing; ``TypeError`` and ``ValueError`` likewise.
    """
    tokenizer = _tokenizer(**described["tokenizer"])
    if described["model_type"] == "bert":
        return Bert(tokenizer, BertShape(**described["shape"]))
    if not isinstance(tokenizer, BytePairTokenizer):
        raise ValueError(f"{described['model_type']!r} with a {type(tokenizer).__name__}")
    return build_clip_tokens(described, tokenizer, described["max_tokens"])


def minilm_of_a_run(max_tokens: int) -> TokenEncoder:
    """Build all-MiniLM-L6-v2 without weights, its tokenizer from the pip package: runs of before keep no more of it."""
    return _minilm(max_tokens)


def _minilm(max_tokens: int) -> Bert:
    tokenizer = WordPieceTokenizer(TOKENIZER.verified_path())
    return Bert(tokenizer, replace(MINILM_SHAPE, max_tokens=max_tokens))


def _tokenizer(kind: str, content: str) -> CaptionTokenizer:
    match kind:
        case "WordTokenizer":
            return WordTokenizer(content.split("\n")[len(SPECIAL_TOKENS) :])
        case "WordPieceTokenizer":
            return WordPieceTokenizer(Tokenizer.from_str(content))
        case "BytePairTokenizer":
            return BytePairTokenizer(Tokenizer.from_str(content))
    raise ValueError(f"a tokenizer of the kind {kind!r}")


def _config(network: Any) -> dict[str, Any]:
    return dict(decode_json(network.config.to_json_string(use_diff=False)))


def _is_run(name: str) -> bool:
    return (Path(name).expanduser() / "recipe.json").is_file()


#: Where SimSeg keeps its encoders.
_PLACES = {"image_encoder": "image_encoder.", "text_encoder": "texts.network."}


def _of_run(folder: Path, part: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what an encoder of an earlier run is, and its weights."""
    try:
        written = read_json_file(folder / "recipe.json")
        name, settings = written["name"], written["settings"]
        if not str(name).startswith("simseg/"):
            raise InputError(
                doing=f"beginning from the run {folder}",
                found=f"a run of {name}",
                expected="a run of SimSeg (simseg/…)",
                fix="Give another run, or a checkpoint.",
            )
        tensors = load_final(folder)
        kept = read_json_file(folder / "model.json") if (folder / "model.json").is_file() else {}
        described = kept.get(part) or _from_settings(name, settings, part)
    except LexisegError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            doing=f"beginning from the run {folder}",
            found=f"{type(error).__name__}: {error}",
            expected="recipe.json and model.safetensors of a finished run",
            fix="Finish the run (--resume), or give another one.",
        ) from error
    prefix = _PLACES[part]
    weights = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return described, weights


def _from_settings(name: str, settings: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Describe an encoder that its run trained from scratch, or MiniLM, by the run's settings."""
    if part == "image_encoder":
        return {"model_type": "plain_vit", "shape": dict(settings["image"])}
    if name not in TRAINING_RECIPES:
        raise ValueError(f"no recipe {name}")
    recipe: Any = find_recipe(name)
    tokenizer = recipe.build_tokenizer()
    return {
        "model_type": "bert",
        "shape": dict(settings["text"]) if "text" in settings else asdict(MINILM_SHAPE),
        "tokenizer": {"kind": type(tokenizer).__name__, "content": tokenizer.identity},
    }


def _fill(encoder: nn.Module, weights: Mapping[str, Any], name: str) -> None:
    try:
        encoder.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CheckpointError(
            doing=f"beginning from the run {name}",
            found=str(error).splitlines()[-1].strip()[:300],
            expected="weights of the encoder that the run describes",
            fix="Use the version of Lexiseg that wrote the run.",
        ) from error
