"""The published protocols, and house protocols that fit any data. Facts only; ``protocol`` has the meaning.

Numbers and rules were read in the public code that each ``source`` names; what could not be read is
said under ``unknown``.
"""

from typing import Any

from lexiseg.core.errors import UnknownNameError
from lexiseg.ops.dense_heads import BORROWING_HEADS, HEADS
from lexiseg.scoring.protocol import Protocol
from lexiseg.scoring.published_dense import dense_protocols

#: What sources do beyond the common path of inference. A method that does one names it in ``Segmenter.applies``.
STEPS = {
    "image-top5": "candidate filter: the 5 classes most probable for the image",
    "group-threshold": "threshold on doubly normalised group probabilities, at most the image's largest score",
    "group-pixels": "pixels take their group's scores (one-hot assignment)",
    "reduced-megapixel": "images above one megapixel are reduced to 1,000 pixels on the long side, the result enlarged",
    "pamr-threshold": "with PAMR refinement the threshold is 0.4",
    "person-clothing": "further names of person (clothing)",
    "joined-names": "names without spaces, such as chestofdrawers",
    "joined-names-15": "15 names without spaces",
    "simseg-candidates-10": "candidates: mean plus one standard deviation of the best 10 names, at most 5",
    "simseg-candidates-30": "candidates: mean plus one standard deviation of the best 30 names, at most 5",
    "simseg-masks": "per-class min-max maps, each cut by a dense CRF of its own, dilation and erosion (7 × 7, once);"
    " background where nothing fires",
    "prompts-multi": "the prompt set called multi",
    "pamr-10": "PAMR refinement, 10 steps, dilations 8 and 16",
    "region-vote": "every region takes its most frequent label",
    **{f"head-{head}": f"patches by the head {head}" for head in (*HEADS, *BORROWING_HEADS)},
}

_VOC = "PASCAL VOC 2012 val, 1,449 images"
_CONTEXT = "PASCAL Context val, 5,105 images"
_OBJECT = "COCO-Object: COCO val2017, 5,000 images, labels from the stuff-thing maps (void became background)"
_STUFF = "COCO-Stuff 164k, val2017, 5,000 images"
_STUFF_10K = "COCO-Stuff 10k, test, 1,000 images"
_IGNORED: dict[str, Any] = {"true_background": "ignored"}
_SCORED: dict[str, Any] = {"true_background": "class"}
_VOC20: dict[str, Any] = {
    "benchmark": _VOC, "datasets": ("voc20", "voc21"), "classes": "voc20", "num_classes": 20, **_IGNORED,
}  # fmt: skip
_VOC21: dict[str, Any] = {
    "benchmark": _VOC, "datasets": ("voc21",), "classes": "voc20", "num_classes": 21, **_SCORED,
}  # fmt: skip
_CONTEXT59: dict[str, Any] = {
    "benchmark": _CONTEXT, "datasets": ("context59", "context60"), "classes": "context59", "num_classes": 59, **_IGNORED,
}  # fmt: skip
_CONTEXT60: dict[str, Any] = {
    "benchmark": _CONTEXT, "datasets": ("context60",), "classes": "context59", "num_classes": 60, **_SCORED,
}  # fmt: skip
_OBJECT80: dict[str, Any] = {
    "benchmark": _OBJECT, "datasets": ("coco-object80", "coco-object81"), "classes": "coco_object80", "num_classes": 80,
    **_IGNORED,
}  # fmt: skip
_OBJECT81: dict[str, Any] = {
    "benchmark": _OBJECT, "datasets": ("coco-object81",), "classes": "coco_object80", "num_classes": 81, **_SCORED,
}  # fmt: skip
_STUFF171: dict[str, Any] = {
    "benchmark": _STUFF, "datasets": ("coco-stuff164k",), "classes": "coco_stuff171", "num_classes": 171,
}  # fmt: skip
_ADE150: dict[str, Any] = {
    "benchmark": "ADE20K val, 2,000 images", "datasets": ("ade20k-150",), "classes": "ade20k150", "num_classes": 150,
}  # fmt: skip
_CITY19: dict[str, Any] = {
    "benchmark": "Cityscapes val, 500 images", "datasets": ("cityscapes19",), "classes": "cityscapes19", "num_classes": 19,
}  # fmt: skip

_MMSEG = "mmsegmentation: classes that occur or are predicted"
_HOUSE = (
    Protocol(name="mmseg", source=_MMSEG),
    Protocol(name="present-only", source="detectron2: classes that occur", averaging="occurs"),
    Protocol(name="all-classes", source="ImageNet-S: all classes, absent ones 0", averaging="all"),
    Protocol(name="without-background", source=_MMSEG, **_IGNORED),
    Protocol(name="boundary", source="Cheng et al., CVPR 2021; band of 2 % of the diagonal", boundary=0.02),
    Protocol(
        name="boundary-imagenet-s",
        source="ImageNet-S evaluator: band of 3 %, all classes, absent ones 0",
        boundary=0.03,
        averaging="all",
    ),
    Protocol(name="voc20", source=_MMSEG, **_VOC20),
    Protocol(name="voc21", source=_MMSEG, **_VOC21),
    Protocol(name="context59", source=_MMSEG, **_CONTEXT59),
    Protocol(name="context60", source=_MMSEG, **_CONTEXT60),
    Protocol(
        name="context459",
        source="detectron2 family",
        benchmark=_CONTEXT,
        datasets=("context459",),
        num_classes=459,
        averaging="occurs",
    ),
    Protocol(name="coco-object80", source=_MMSEG, **_OBJECT80),
    Protocol(name="coco-object81", source=_MMSEG, **_OBJECT81),
    Protocol(name="coco-stuff171", source=_MMSEG, **_STUFF171),
    Protocol(
        name="coco-stuff10k",
        source=_MMSEG,
        **{**_STUFF171, "benchmark": _STUFF_10K, "datasets": ("coco-stuff10k",)},
    ),
    Protocol(name="ade20k-150", source=_MMSEG, **_ADE150),
    Protocol(
        name="ade20k-847",
        source="detectron2 family",
        benchmark="ADE20K full val, 2,000 images, short side at most 512",
        datasets=("ade20k-847",),
        num_classes=847,
        averaging="occurs",
    ),
    Protocol(name="cityscapes19", source=_MMSEG, **_CITY19),
)


def _imagenet_s(number: int, images: str, **more: Any) -> Protocol:
    return Protocol(
        name=f"imagenet-s{number}",
        source="ImageNet-S evaluator: mean over the classes and other, absent ones 0",
        benchmark=f"ImageNet-S-{number} {images}",
        datasets=(f"imagenet-s{number}",),
        num_classes=number + 1,
        averaging="all",
        imagenet_s=True,
        **_SCORED,
        **more,
    )


_IMAGENET_S = (
    _imagenet_s(50, "val, 752 images", classes="imagenet_s50"),
    _imagenet_s(300, "val, 4,097 images"),
    _imagenet_s(919, "val, 12,419 images"),
)

# Text-supervised: short side 448, windows of 448 every 224, averaged; logits to the original size, then arg max.
_SLIDE_448: dict[str, Any] = {
    "tiles": "off",
    "short_side": 448, "max_long_side": 2048, "keep_aspect": True, "window": 448, "window_stride": 224, "blend": "mean",
    "refine": "none",
}  # fmt: skip
_GROUPVIT: dict[str, Any] = {
    "source": "GroupViT (Xu et al., CVPR 2022), mmsegmentation 0.18 configurations",
    "steps": ("image-top5", "group-threshold", "group-pixels"),
}
_GROUPVIT_INFERENCE: dict[str, Any] = {**_SLIDE_448, "prompts": "single", "background": "threshold"}
# Sets that are all classes: without a threshold; small images in smaller windows.
_GROUPVIT_STUFF: dict[str, Any] = {
    **_SLIDE_448, "prompts": "single", "background": "none", "short_side": 512, "window": 224, "window_stride": 112,
}  # fmt: skip
_GROUPVIT_CITY: dict[str, Any] = {**_SLIDE_448, "prompts": "single", "background": "none", "short_side": 1024}
_COCU: dict[str, Any] = {"source": "CoCu (Xing et al., NeurIPS 2023): GroupViT's inference on eight sets"}
_COCU_GROUPVIT: dict[str, Any] = {"source": "GroupViT as CoCu (Xing et al., NeurIPS 2023) evaluates it"}
_TCL: dict[str, Any] = {
    "source": "TCL (Cha et al., CVPR 2023)",
    "inference": {**_SLIDE_448, "prompts": "tcl9"},
    "unknown": ("class names",),
}
_TCL_BACKGROUND: dict[str, Any] = {
    **_TCL,
    "inference": {**_TCL["inference"], "background": "threshold", "threshold": 0.5},
    "steps": ("pamr-threshold",),
}
_SIMSEG_INFERENCE: dict[str, Any] = {
    "tiles": "off",
    "short_side": 288, "max_long_side": 2048, "keep_aspect": False, "window": None, "prompts": "imagenet80",
    "background": "name", "refine": "crf",
}  # fmt: skip
_MASKCLIP: dict[str, Any] = {
    "keep_aspect": True,
    "tiles": "off",
    "window": None,
    "prompts": "maskclip85",
    "refine": "none",
}
_ZEGCLIP: dict[str, Any] = {
    "source": "ZegCLIP (Zhou et al., CVPR 2023): one run over all classes, unseen means over classes that count",
    "unknown": ("class names", "bound of the long side"),
}
_ZEGCLIP_INFERENCE: dict[str, Any] = {
    "tiles": "off",
    "short_side": 512, "max_long_side": 2048, "keep_aspect": True, "window": 512, "window_stride": 426, "blend": "mean",
    "refine": "none",
}  # fmt: skip
_DETECTRON2: dict[str, Any] = {
    "source": "SAN, OVSeg (detectron2): short side 640, at most 2,560, whole image",
    "inference": {
        "tiles": "off",
        "short_side": 640, "max_long_side": 2560, "keep_aspect": True, "window": None, "prompts": "vild14",
    },
    "averaging": "occurs",
}  # fmt: skip
_UNSEEN_VOC = ("pottedplant", "sheep", "sofa", "train", "tvmonitor")
_UNSEEN_STUFF = (
    "cow", "giraffe", "suitcase", "frisbee", "skateboard", "carrot", "scissors", "cardboard", "clouds", "grass",
    "playingfield", "river", "road", "tree", "wall-concrete",
)  # fmt: skip


def _groupvit(name: str, threshold: float, **more: Any) -> Protocol:
    return Protocol(
        name=name, inference={**_GROUPVIT_INFERENCE, "threshold": threshold}, **{**_GROUPVIT, **more}
    )


def _all_classes(name: str, inference: dict[str, Any], **more: Any) -> Protocol:
    return Protocol(name=name, inference=inference, steps=("image-top5", "group-pixels"), **more)


def _imagenet_s_by_groups(who: str, source: dict[str, Any], number: int, threshold: float) -> Protocol:
    house = next(each for each in _IMAGENET_S if each.name == f"imagenet-s{number}")
    return _groupvit(
        f"{who}-imagenet-s{number}",
        threshold,
        **source,
        steps=(*_GROUPVIT["steps"], "reduced-megapixel"),
        benchmark=house.benchmark,
        datasets=house.datasets,
        classes=house.classes,
        num_classes=house.num_classes,
        averaging="all",
        imagenet_s=True,
        unknown=() if house.classes else ("class names",),
        **_SCORED,
    )


def _five_more(who: str, source: dict[str, Any]) -> tuple[Protocol, ...]:
    return (
        _imagenet_s_by_groups(who, source, 50, 0.95),
        _imagenet_s_by_groups(who, source, 300, 0.75),
        _all_classes(f"{who}-cityscapes", _GROUPVIT_CITY, **source, **_CITY19),
        _all_classes(f"{who}-ade", _GROUPVIT_STUFF, **source, **_ADE150),
        _all_classes(f"{who}-stuff", _GROUPVIT_STUFF, **source, **_STUFF171),
    )


def _simseg(name: str, candidates: int, **more: Any) -> Protocol:
    return Protocol(
        name=name,
        source="SimSeg (Yi et al., CVPR 2023)",
        names="simseg",
        inference=_SIMSEG_INFERENCE,
        steps=(f"simseg-candidates-{candidates}", "simseg-masks"),
        **more,
    )


def _maskclip(name: str, short_side: int, max_long_side: int, **more: Any) -> Protocol:
    return Protocol(
        name=name,
        source="MaskCLIP (Zhou et al., ECCV 2022), mmsegmentation 0.x",
        names="maskclip",
        inference={"short_side": short_side, "max_long_side": max_long_side, **_MASKCLIP},
        **more,
    )


def _zegformer(name: str, **more: Any) -> Protocol:
    return Protocol(
        name=name,
        source="ZegFormer (Ding et al., CVPR 2022): side means divide by fixed counts, undefined if a class is absent",
        absent_unseen="undefined",
        unknown=("inference side",),
        **more,
    )


_PUBLISHED = (
    _groupvit("groupvit-voc", 0.95, names="groupvit", **_VOC21),
    _groupvit("groupvit-context", 0.35, names="groupvit", **_CONTEXT60),
    _groupvit("groupvit-coco", 0.95, **_OBJECT81),
    *_five_more("groupvit", _COCU_GROUPVIT),
    _groupvit("cocu-voc", 0.95, names="groupvit", **_COCU, **_VOC21),
    _groupvit("cocu-context", 0.35, names="groupvit", **_COCU, **_CONTEXT60),
    _groupvit("cocu-coco", 0.95, **_COCU, **_OBJECT81),
    *_five_more("cocu", _COCU),
    Protocol(name="tcl-voc20", **_TCL, **_VOC20),
    Protocol(name="tcl-voc", **_TCL_BACKGROUND, **_VOC21),
    Protocol(name="tcl-context59", **_TCL, **_CONTEXT59),
    Protocol(name="tcl-context", **_TCL_BACKGROUND, **_CONTEXT60),
    Protocol(name="tcl-coco", **_TCL_BACKGROUND, **_OBJECT81),
    Protocol(name="tcl-stuff", **_TCL, **_STUFF171),
    Protocol(name="tcl-cityscapes", **_TCL, **_CITY19),
    Protocol(name="tcl-ade", **_TCL, **_ADE150),
    *dense_protocols(
        {
            "voc20": _VOC20,
            "voc21": _VOC21,
            "context59": _CONTEXT59,
            "context60": _CONTEXT60,
            "coco": _OBJECT81,
            "stuff": _STUFF171,
            "cityscapes": _CITY19,
            "ade": _ADE150,
        }
    ),
    _simseg("simseg-voc", 10, **_VOC21),
    _simseg("simseg-context", 30, **_CONTEXT60),
    _simseg("simseg-coco", 10, **_OBJECT81),
    _maskclip("maskclip-voc20", 512, 2048, **_VOC20),
    _maskclip("maskclip-context59", 520, 520, **_CONTEXT59),
    Protocol(
        name="zegclip-voc",
        inference={**_ZEGCLIP_INFERENCE, "prompts": "single"},
        unseen=_UNSEEN_VOC,
        **_ZEGCLIP,
        **_VOC20,
    ),
    Protocol(
        name="zegclip-coco",
        inference=_ZEGCLIP_INFERENCE,
        unseen=_UNSEEN_STUFF,
        steps=("prompts-multi",),
        **_ZEGCLIP,
        **_STUFF171,
    ),
    _zegformer("zegformer-voc", unseen=_UNSEEN_VOC, **_VOC20),
    _zegformer("zegformer-coco", unseen=_UNSEEN_STUFF, **_STUFF171),
    Protocol(name="detectron2-voc20", names="san", **_DETECTRON2, **_VOC20),
    Protocol(name="detectron2-ade", **_DETECTRON2, **_ADE150),
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol for protocol in (*_HOUSE, *_IMAGENET_S, *_PUBLISHED)
}


def find_protocol(name: str) -> Protocol:
    """Look a protocol up by name.

    Raises:
        UnknownNameError: There is none; the message lists all.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError.of("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
