"""Protocols of the papers on dense heads of CLIP: how each chose size, windows, softmax and background. Facts only.

Read in the public code or README of each, or in a paper's text (``docs/methods/dense_vlm.md`` says which). Names of
classes are tuned in every repository; where the list was not read, ``unknown`` says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lexiseg.inference.class_names import BACKGROUND_WORDS
from lexiseg.scoring.protocol import Protocol

#: Sets with a background that is scored, and how their background competes: stuff words, or the word background.
_BACKGROUND = {"voc21": "words", "context60": "name", "coco": "words"}


@dataclass(frozen=True, kw_only=True)
class _Paper:
    """What one paper chose. Mappings are by the name of the set; what is not in them takes the plain value.

    Attributes:
        source: Paper.
        head: Step that says how patches get into the space of texts.
        short_side: Of the image that the model sees.
        window: Side and step of windows.
        logit_scale: Of the softmax over all names.
        min_probability: For the three sets with background.
        short_sides: Exceptions from ``short_side``.
        windows: Exceptions from ``window``; None for the whole image.
        logit_scales: Exceptions from ``logit_scale``.
        min_area_shares: Share below which classes are dropped, where they are.
        steps: Further steps.
        unknown: What was not read.
    """

    source: str
    head: str
    short_side: int
    window: tuple[int, int]
    logit_scale: float = 40.0
    min_probability: Mapping[str, float]
    short_sides: Mapping[str, int] = field(default_factory=dict)
    windows: Mapping[str, tuple[int, int] | None] = field(default_factory=dict)
    logit_scales: Mapping[str, float] = field(default_factory=dict)
    min_area_shares: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ("class names",)


def _three(voc21: float, context60: float, coco: float) -> dict[str, float]:
    return {"voc21": voc21, "context60": context60, "coco": coco}


#: By the beginning of the protocols' names.
_PAPERS = {
    "sclip": _Paper(
        source="SCLIP (Wang et al., ECCV 2024), mmsegmentation 1.x",
        head="head-sclip",
        short_side=336,
        short_sides={"stuff": 448, "cityscapes": 560},
        window=(224, 112),
        logit_scales={"voc21": 65.0, "context60": 50.0, "coco": 50.0},
        min_probability=_three(0.1, 0.1, 0.1),
        min_area_shares={"voc21": 0.1},
        unknown=(),
    ),
    "clearclip": _Paper(
        source="ClearCLIP (Lan et al., ECCV 2024)",
        head="head-clearclip",
        short_side=448,
        window=(448, 224),
        windows={"cityscapes": (224, 224)},
        logit_scale=50.0,
        min_probability=_three(0.5, 0.15, 0.4),
    ),
    "naclip": _Paper(
        source="NACLIP (Hajimiri et al., WACV 2025)",
        head="head-naclip",
        short_side=336,
        short_sides={"cityscapes": 560},
        window=(224, 112),
        windows={"voc21": None},
        min_probability=_three(0.1, 0.1, 0.1),
        steps=("pamr-10",),
    ),
    "scclip": _Paper(
        source="SC-CLIP (Bai et al., 2024)",
        head="head-scclip",
        short_side=336,
        short_sides={"cityscapes": 560},
        window=(224, 112),
        logit_scales={"voc21": 50.0, "coco": 55.0},
        min_probability=_three(0.15, 0.15, 0.35),
        min_area_shares={"voc21": 0.1},
    ),
    "proxyclip": _Paper(
        source="ProxyCLIP (Lan et al., ECCV 2024)",
        head="head-proxyclip",
        short_side=336,
        short_sides={"ade": 448, "cityscapes": 448},
        window=(336, 112),
        windows={"cityscapes": (224, 112)},
        min_probability=_three(0.2, 0.15, 0.25),
    ),
    "trident": _Paper(
        source="Trident (Shi et al., 2024), without SAM's prompts",
        head="head-trident",
        short_side=448,
        short_sides={"voc20": 336, "context59": 576, "context60": 576, "ade": 576, "cityscapes": 688},
        window=(336, 224),
        windows={"voc20": (336, 112)},
        min_probability=_three(0.2, 0.15, 0.25),
    ),
    "corrclip": _Paper(
        source="CorrCLIP (Zhang et al., ICCV 2025), version 1",
        head="head-corrclip",
        short_side=336,
        short_sides={"ade": 448, "cityscapes": 448},
        window=(336, 112),
        windows={"cityscapes": (224, 112)},
        min_probability=_three(0.2, 0.15, 0.25),
        steps=("region-vote",),
    ),
}

#: What SCLIP does with names, by set: the list of names, and steps.
_SCLIP_NAMES: dict[str, dict[str, Any]] = {
    "voc20": {"names": "sclip", "steps": ("person-clothing",)},
    "voc21": {"names": "sclip", "steps": ("person-clothing",)},
    "context59": {"names": "sclip", "steps": ("person-clothing",)},
    "context60": {"names": "sclip", "steps": ("person-clothing",)},
    "coco": {"steps": ("person-clothing", "joined-names-15")},
    "ade": {"steps": ("joined-names",)},
}


def dense_protocols(benchmarks: Mapping[str, Mapping[str, Any]]) -> Iterator[Protocol]:
    """Make a protocol of every paper on every benchmark.

    Args:
        benchmarks: Fields that say what is scored, by the name that ends a protocol's.
    """
    for who, paper in _PAPERS.items():
        for name, scored in benchmarks.items():
            more = dict(_SCLIP_NAMES.get(name, {})) if who == "sclip" else {}
            steps = (paper.head, *paper.steps, *more.pop("steps", ()))
            inference = _inference(paper, name)
            if who == "sclip" and inference.get("background") == "words":
                # SCLIP's list as it is, with names that are classes too: there the tie goes to background.
                inference["background"], more["background_names"] = "name", BACKGROUND_WORDS
            yield Protocol(
                name=f"{who}-{name}",
                source=paper.source,
                inference=inference,
                steps=steps,
                unknown=paper.unknown,
                **more,
                **scored,
            )


def _inference(paper: _Paper, name: str) -> dict[str, Any]:
    window = paper.windows.get(name, paper.window)
    found: dict[str, Any] = {
        "short_side": paper.short_sides.get(name, paper.short_side),
        "max_long_side": 2048,
        "keep_aspect": True,
        "window": None if window is None else window[0],
        "window_stride": None if window is None else window[1],
        "blend": "mean",
        "prompts": "imagenet80",
        "synonyms": "max",
        "refine": "none",
    }
    if name in _BACKGROUND:
        found |= {
            "background": _BACKGROUND[name],
            "min_probability": paper.min_probability[name],
            "logit_scale": paper.logit_scales.get(name, paper.logit_scale),
        }
    if name in paper.min_area_shares:
        found["min_area_share"] = paper.min_area_shares[name]
    return found
