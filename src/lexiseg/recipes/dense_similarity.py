"""Dense similarity on any CLIP, SigLIP or SigLIP 2 checkpoint, with a choice of heads."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from lexiseg.core.cache_folder import default_cache
from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.borrowed_attention.corrclip import CorrClip
from lexiseg.methods.borrowed_attention.proxyclip import ProxyClip
from lexiseg.methods.borrowed_attention.region_bank import RegionBank
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.methods.borrowed_attention.trident import Trident
from lexiseg.methods.dense_similarity import DenseSimilarity
from lexiseg.models import siglip
from lexiseg.models.checkpoint import fingerprint, read_config
from lexiseg.models.clip import ClipImageEncoder, load_clip
from lexiseg.models.dino import load_dino
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.graph_encoder import Engine, GraphEncoder
from lexiseg.models.graph_export import export_graph
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.mask_generator import MaskGeneratorSettings
from lexiseg.models.sam import Sam, SamNeck, load_sam
from lexiseg.models.siglip import SiglipImageEncoder, load_siglip
from lexiseg.ops.dense_heads import BORROWING_HEADS, BorrowingHead, OwnHead, graph_facts
from lexiseg.recipes.rim import load_prompted, load_proposer

#: In ``beside.vision`` and ``beside.proposer``: do without.
NONE = "none"

#: About how many patches the short side gets without windows: 28, as with CLIP ViT-B/16 at 448 pixels.
SHORT_SIDE_PATCHES = 28

#: Patches in the square that ``scclip`` was set for: 224 pixels of ViT-B/16.
_SELF_CALIBRATED_PATCHES = 14 * 14


@dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """How patches get into the space of the texts.

    Attributes:
        head: What patches take from the network's last attention. value: their own value, no residual, no MLP.
            maskclip: the same with both. sclip, clearclip, kk, naclip: values of patches with like queries and keys,
            queries, keys, or keys and places. scclip: outlier tokens repaired, similarity of middle blocks. auto: for
            CLIP scclip, or naclip where an image of training has less than 14×14 patches; for SigLIP value. Beside
            value and auto, SigLIP has kk and naclip. proxyclip: values of patches that another network finds alike;
            trident: the same, spread by SAM's attention; corrclip: values of the patch's region; what stands beside
            CLIP for these is set under ``beside``. Which is best is published, not measured here.
        engine: What runs the image encoder with a head of its own: ``torch``, or on the CPU ``onnxruntime``, ``openvino`` or
            ``openvino-bf16`` (extra ``export``), which take a graph that is written once into the cache.
        beside: The other networks, and how they are listened to.
    """

    head: Literal["auto", OwnHead, BorrowingHead] = "auto"
    engine: Literal["torch", Engine] = "torch"
    beside: BorrowedAttentionSettings = field(default_factory=BorrowedAttentionSettings)


#: The head of earlier versions, and the only one that trained models learnt from.
VALUE_HEAD = DenseSettings(head="value")


def build_dense_similarity(name_or_path: str, method: DenseSettings | None = None) -> Segmenter:
    """Load a checkpoint and choose the inference defaults that fit it.

    With the heads ``value`` and ``maskclip`` the short side gets 28 patches, or the model's own grid where that is finer,
    and the image is seen whole. The others were published with windows as large as the images of training, half of which
    overlap, on a short side of one and a half windows. CLIP reads the 80 templates it was evaluated with; SigLIP and
    SigLIP 2 a single one, as each costs a pass over all 64 token positions.

    Args:
        name_or_path: A hub id or a local folder.
        method: The head; None for the defaults.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
        InputError: The head is not defined for this family.
    """
    method = method or DenseSettings()
    folder = resolve_checkpoint(name_or_path)
    if method.head in BORROWING_HEADS:
        return _build_borrowed(name_or_path, folder, method)
    if read_config(folder, ("clip", "siglip", "siglip2"))["model_type"] == "clip":
        clip_image, clip_text = load_clip(folder)
        head = clip_image.head = _clip_head(method, clip_image)
        settings = _settings(clip_image.stride, clip_image.native_grid, prompts="imagenet80", head=head)
        side = clip_image.native_grid[0] * clip_image.stride
        runner = with_engine(clip_image, method.engine, head)
        return DenseSimilarity(
            runner, clip_text, name=name_or_path, settings=settings, image_side=side, head=head
        )
    head = "value" if method.head == "auto" else method.head
    if head not in siglip.HEADS:
        raise InputError(
            doing=f"choosing the head of {name_or_path}",
            found=f"{head}, which needs queries of patches or a class token, and SigLIP's pooling head has neither",
            expected=f"one of: {', '.join(siglip.HEADS)}",
            fix="Choose one of these, or a CLIP checkpoint.",
        )
    image, text = load_siglip(folder, head=head)
    settings = _settings(image.stride, image.native_grid, prompts="single", head=head)
    side = image.native_grid[0] * image.stride
    runner = with_engine(image, method.engine, head)
    return DenseSimilarity(runner, text, name=name_or_path, settings=settings, image_side=side, head=head)


def with_engine(encoder: ClipImageEncoder | SiglipImageEncoder, engine: str, head: str) -> ImageEncoder:
    """Return an image encoder as another engine runs it; its graph is written once, under a hash of the weights.

    Args:
        encoder: The network.
        engine: ``torch`` for the encoder itself, or a name of ``models.graph_encoder.Engine``.
        head: What the encoder was told to be, for the file's name.

    Raises:
        MissingPackageError: The extra ``export`` is not installed.
        InputError: The encoder has a part that ONNX has no word for.
    """
    if engine == "torch":
        return encoder
    weights = fingerprint(encoder)
    path = default_cache() / "graphs" / f"{weights[:16]}-{head}.onnx"
    if not path.is_file():
        export_graph(encoder, path, record={"weights": weights, **graph_facts(head)})
    assert engine in get_args(Engine)
    return GraphEncoder(path, cast(Engine, engine))


def _build_borrowed(name: str, folder: Path, method: DenseSettings) -> Segmenter:
    """Load CLIP and what stands beside it."""
    if method.engine != "torch":
        raise InputError(
            doing=f"choosing the engine of {name}",
            found=f"{method.engine} with the head {method.head}, which listens to a second network",
            expected="torch, or a head of one network",
            fix="Leave engine out, or take --set head=scclip.",
        )
    if read_config(folder, ("clip", "siglip", "siglip2"))["model_type"] != "clip":
        raise InputError(
            doing=f"choosing the head of {name}",
            found=f"{method.head}, for a SigLIP, whose patches reach the texts through a pooling head",
            expected=f"one of: {', '.join(siglip.HEADS)}",
            fix="Choose one of these, or a CLIP checkpoint.",
        )
    beside, head = method.beside, method.head
    if beside.vision == NONE and head != "corrclip":
        raise InputError(
            doing=f"choosing the vision model of {head}",
            found="none",
            expected="a network whose patches say what is alike: dinov2-small, or a DINO, DINOv2 or SAM checkpoint",
            fix="Give one with --set beside.vision=NAME, or take --set head=corrclip, which can do without.",
        )
    clip, texts = load_clip(folder)
    vision = None if beside.vision == NONE else load_vision(beside.vision, query_key=head == "corrclip")
    settings = _borrowed_inference(clip, tiles="off" if head == "trident" else "auto")
    how: dict[str, Any] = {"name": name, "settings": settings, "method": beside}
    if head == "proxyclip":
        assert vision is not None
        return ProxyClip(clip, texts, vision, head=head, **how)
    if head == "trident":
        assert vision is not None
        sam = load_prompted(beside.sam)
        if not isinstance(sam, Sam):
            raise InputError(
                doing="loading the SAM of trident",
                found=f"{beside.sam}, a {type(sam).__name__}",
                expected="a SAM 1 checkpoint: its last block attends over the whole image",
                fix="Use --set beside.sam=facebook/sam-vit-base.",
            )
        return Trident(clip, texts, vision, sam, **how)
    proposer = None
    if beside.proposer != NONE:
        points = MaskGeneratorSettings(
            points_per_side=beside.points_per_side, min_expected_iou=0.4, min_stability=0.4
        )
        proposer = load_proposer(beside.proposer, vision or clip, settings=points)
    bank = None
    if beside.bank != NONE:
        if vision is None:
            raise InputError(
                doing="opening the bank of regions of corrclip",
                found="no vision model, whose features are the bank's keys",
                expected="the one that the bank was built with",
                fix="Give it with --set beside.vision=NAME.",
            )
        bank = RegionBank(Path(beside.bank).expanduser())
    return CorrClip(clip, texts, vision, proposer, bank=bank, **how)


def load_vision(name: str, *, query_key: bool = False) -> ImageEncoder:
    """Load the network whose patches say what is alike.

    Args:
        name: ``dinov2-small``, or the hub id or folder of a DINO, DINOv2 (with or without registers) or SAM checkpoint.
        query_key: Take of DINO the sum of query and key in its last block, as CorrCLIP does; others have tokens only.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used, or are of another family.
    """
    folder = resolve_checkpoint(name)
    kind = read_config(folder, ("dinov2", "dinov2_with_registers", "vit", "sam"))["model_type"]
    if kind == "sam":
        return SamNeck(load_sam(folder))
    if kind == "vit":
        return load_dino(folder, features="query_key" if query_key else "tokens")
    return load_dinov2(folder)


def _borrowed_inference(clip: ClipImageEncoder, *, tiles: Literal["auto", "off"]) -> InferenceSettings:
    """Choose the papers' 336 pixels, windows as large, every 112: 21 patches of ViT-B/16."""
    window = max(clip.stride, round(336 / clip.stride) * clip.stride)
    step = max(clip.stride, round(112 / clip.stride) * clip.stride)
    return InferenceSettings(
        short_side=window,
        window=window,
        window_stride=step,
        prompts="imagenet80",
        refine="guided",
        tiles=tiles,
    )


def _clip_head(method: DenseSettings, encoder: ClipImageEncoder) -> str:
    if method.head != "auto":
        return method.head
    height, width = encoder.native_grid
    return "scclip" if height * width >= _SELF_CALIBRATED_PATCHES else "naclip"


def _settings(stride: int, native_grid: tuple[int, int], *, prompts: str, head: str) -> InferenceSettings:
    if head in ("value", "maskclip"):
        short_side = max(SHORT_SIDE_PATCHES, *native_grid) * stride
        return InferenceSettings(short_side=short_side, prompts=prompts, refine="guided")
    window = max(native_grid) * stride
    half = max(1, max(native_grid) // 2) * stride
    return InferenceSettings(
        short_side=window + half, window=window, window_stride=half, prompts=prompts, refine="guided"
    )
