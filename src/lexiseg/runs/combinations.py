"""Combinations of networks that were published, with their figures: what could be had, not what was measured here."""

from dataclasses import dataclass

_CLIP_B16 = "openai/clip-vit-base-patch16"
_README = "README of the method's repository"
_TABLE = "table 1 of a later paper that ran all under one protocol"


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One way of putting networks together.

    Attributes:
        command: What to give a command for it.
        parts: Networks it needs, by hub id.
        licence: The strictest of the parts'.
        mean_iou: Published mean over eight sets (VOC21, Context60, COCO-Object, VOC20, Context59, COCO-Stuff, Cityscapes,
            ADE20K), in percent, without post-processing of borders; settings and class names differ between rows.
        source: Where that was read.
    """

    command: str
    parts: tuple[str, ...]
    licence: str
    mean_iou: float
    source: str


COMBINATIONS = (
    Combination(
        command=f"--model {_CLIP_B16} --set head=maskclip",
        parts=(_CLIP_B16,),
        licence="MIT",
        mean_iou=30.3,
        source=_TABLE,
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=sclip",
        parts=(_CLIP_B16,),
        licence="MIT",
        mean_iou=38.2,
        source=_TABLE,
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=clearclip",
        parts=(_CLIP_B16,),
        licence="MIT",
        mean_iou=38.1,
        source="a later paper",
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=naclip",
        parts=(_CLIP_B16,),
        licence="MIT",
        mean_iou=39.4,
        source=_TABLE,
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=scclip",
        parts=(_CLIP_B16,),
        licence="MIT",
        mean_iou=43.9,
        source="the method's paper",
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=proxyclip",
        parts=(_CLIP_B16, "DINO ViT-B/8 there, facebook/dino-vitb16 here"),
        licence="MIT, Apache-2.0",
        mean_iou=42.3,
        source=_TABLE,
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=trident",
        parts=(_CLIP_B16, "facebook/dino-vitb16", "facebook/sam-vit-base"),
        licence="MIT, Apache-2.0",
        mean_iou=45.8,
        source="a later paper",
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=corrclip",
        parts=("MetaCLIP ViT-B/16 there (CC-BY-NC-4.0), OpenAI's here", "DINO ViT-B/8", "SAM 2 (8×8 points)"),
        licence="CC-BY-NC-4.0 there; MIT, Apache-2.0 here",
        mean_iou=50.4,
        source=_README,
    ),
    Combination(
        command="--model facebook/sam3",
        parts=("facebook/sam3",),
        licence="SAM Licence (gated)",
        mean_iou=57.5,
        source="README of ConceptBank, frozen, names only",
    ),
)
