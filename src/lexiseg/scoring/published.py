"""The published protocols, and house protocols that fit any data. Facts only; ``protocols`` has the meaning.

Numbers and rules were read in the public code that each ``source`` names; what could not be read is
said under ``uncertain``.
"""

from typing import Any

from lexiseg.scoring.protocol import Protocol

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
    "short_side": 448, "max_long_side": 2048, "window": 448, "window_stride": 224, "blend": "mean", "refine": "none",
}  # fmt: skip
_GROUPVIT: dict[str, Any] = {
    "source": "GroupViT (Xu et al., CVPR 2022), mmsegmentation 0.18 configurations",
    **_SLIDE_448,
    "prompts": "single",
    "background": "threshold",
    "beyond": (
        "candidate filter: the 5 classes most probable for the image",
        "threshold on doubly normalised group probabilities, at most the image's largest score",
        "pixels take their group's scores (one-hot assignment)",
    ),
}
_TCL: dict[str, Any] = {
    "source": "TCL (Cha et al., CVPR 2023)",
    **_SLIDE_448,
    "prompts": "tcl9",
    "uncertain": ("class names",),
}
_TCL_BACKGROUND: dict[str, Any] = {
    **_TCL,
    "background": "threshold",
    "threshold": 0.5,
    "beyond": ("with PAMR refinement the threshold is 0.4",),
}
_SCLIP: dict[str, Any] = {
    "source": "SCLIP (Wang et al., ECCV 2024), mmsegmentation 1.x",
    "short_side": 336, "max_long_side": 2048, "window": 224, "window_stride": 112, "blend": "mean",
    "prompts": "imagenet80", "synonyms": "max", "refine": "none",
}  # fmt: skip
_SCLIP_WORDS = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed",
    "building", "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor",
    "hill", "rail", "fence",
)  # fmt: skip
_SCLIP_SOFTMAX = "softmax over all query names (scale {}), pixels below probability 0.1 are background"
_SCLIP_PERSON = "further names of person (clothing)"
_SIMSEG: dict[str, Any] = {
    "source": "SimSeg (Yi et al., CVPR 2023)",
    "prompts": "imagenet80",
    "refine": "none",
    "beyond": (
        "pictures squeezed to 288 × 288",
        "candidates: mean plus one standard deviation of the best {} names, at most 5",
        "per-class min-max maps, dense CRF, dilation and erosion; background where nothing fires",
    ),
}
_MASKCLIP: dict[str, Any] = {
    "source": "MaskCLIP (Zhou et al., ECCV 2022), mmsegmentation 0.x",
    "names": "maskclip",
    "prompts": "maskclip85",
    "window": 0,
    "refine": "none",
}
_ZEGCLIP: dict[str, Any] = {
    "source": "ZegCLIP (Zhou et al., CVPR 2023): one run over all classes, unseen means over classes that count",
    "short_side": 512, "max_long_side": 2048, "window": 512, "window_stride": 426, "blend": "mean", "refine": "none",
    "uncertain": ("class names", "bound of the long side"),
}  # fmt: skip
_UNSEEN_VOC = ("pottedplant", "sheep", "sofa", "train", "tvmonitor")
_UNSEEN_STUFF = (
    "cow", "giraffe", "suitcase", "frisbee", "skateboard", "carrot", "scissors", "cardboard", "clouds", "grass",
    "playingfield", "river", "road", "tree", "wall-concrete",
)  # fmt: skip


def _simseg(name: str, candidates: int, **more: Any) -> Protocol:
    beyond = tuple(text.format(candidates) for text in _SIMSEG["beyond"])
    return Protocol(name=name, names="simseg", **{**_SIMSEG, **more, "beyond": beyond})


def _sclip(name: str, scale: int, *further: str, **more: Any) -> Protocol:
    beyond = (*([_SCLIP_SOFTMAX.format(scale)] if "background_names" in more else []), *further)
    return Protocol(name=name, beyond=beyond, **{**_SCLIP, **more})


_PUBLISHED = (
    Protocol(name="groupvit-voc", names="groupvit", threshold=0.95, **_GROUPVIT, **_VOC21),
    Protocol(name="groupvit-context", names="groupvit", threshold=0.35, **_GROUPVIT, **_CONTEXT60),
    Protocol(name="groupvit-coco", threshold=0.95, uncertain=("class names",), **_GROUPVIT, **_OBJECT81),
    Protocol(name="tcl-voc20", **_TCL, **_VOC20),
    Protocol(name="tcl-voc", **_TCL_BACKGROUND, **_VOC21),
    Protocol(name="tcl-context59", **_TCL, **_CONTEXT59),
    Protocol(name="tcl-context", **_TCL_BACKGROUND, **_CONTEXT60),
    Protocol(name="tcl-coco", **_TCL_BACKGROUND, **_OBJECT81),
    Protocol(name="tcl-stuff", **_TCL, **_STUFF171),
    Protocol(name="tcl-cityscapes", **_TCL, **_CITY19),
    Protocol(name="tcl-ade", **_TCL, **_ADE150),
    _sclip("sclip-voc20", 40, _SCLIP_PERSON, names="sclip", **_VOC20),
    _sclip(
        "sclip-voc21",
        65,
        _SCLIP_PERSON,
        "foreground classes of less than 10 % of the predicted foreground are dropped",
        names="sclip",
        background="name",
        background_names=_SCLIP_WORDS,
        **_VOC21,
    ),
    _sclip("sclip-context59", 40, _SCLIP_PERSON, names="sclip", **_CONTEXT59),
    _sclip(
        "sclip-coco",
        50,
        _SCLIP_PERSON,
        "15 names without spaces",
        background="name",
        background_names=_SCLIP_WORDS,
        **_OBJECT81,
    ),
    _sclip("sclip-stuff", 40, short_side=448, **_STUFF171),
    _sclip("sclip-cityscapes", 40, short_side=560, **_CITY19),
    _sclip("sclip-ade", 40, "names without spaces, such as chestofdrawers", **_ADE150),
    _simseg("simseg-voc", 10, **_VOC21),
    _simseg("simseg-context", 30, **_CONTEXT60),
    _simseg("simseg-coco", 10, **_OBJECT81),
    Protocol(name="maskclip-voc20", short_side=512, max_long_side=2048, **_MASKCLIP, **_VOC20),
    Protocol(name="maskclip-context59", short_side=520, max_long_side=520, **_MASKCLIP, **_CONTEXT59),
    Protocol(name="zegclip-voc", prompts="single", unseen=_UNSEEN_VOC, **_ZEGCLIP, **_VOC20),
    Protocol(
        name="zegclip-coco",
        unseen=_UNSEEN_STUFF,
        beyond=("the prompt set called multi",),
        **_ZEGCLIP,
        **_STUFF171,
    ),
    Protocol(
        name="zegformer-voc",
        source="ZegFormer (Ding et al., CVPR 2022): side means divide by fixed counts, undefined if a class is absent",
        unseen=_UNSEEN_VOC,
        absent_unseen="undefined",
        uncertain=("inference side",),
        **_VOC20,
    ),
    Protocol(
        name="zegformer-coco",
        source="ZegFormer (Ding et al., CVPR 2022): side means divide by fixed counts, undefined if a class is absent",
        unseen=_UNSEEN_STUFF,
        absent_unseen="undefined",
        uncertain=("inference side",),
        **_STUFF171,
    ),
    Protocol(
        name="detectron2-voc20",
        source="SAN, OVSeg (detectron2): short side 640, at most 2,560, whole picture",
        short_side=640,
        max_long_side=2560,
        window=0,
        prompts="vild14",
        names="san",
        averaging="occurs",
        **_VOC20,
    ),
    Protocol(
        name="detectron2-ade",
        source="SAN, OVSeg (detectron2): short side 640, at most 2,560, whole picture",
        short_side=640,
        max_long_side=2560,
        window=0,
        prompts="vild14",
        averaging="occurs",
        **_ADE150,
    ),
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol for protocol in (*_HOUSE, *_IMAGENET_S, *_PUBLISHED)
}
