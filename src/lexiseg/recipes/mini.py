"""mini: the model that comes through pip and needs no hub. A floor, not a result to be proud of.

EfficientNet-Lite0 (ImageNet) reads patches, all-MiniLM-L6-v2 compares ImageNet's names with words,
``methods.conse`` joins them. Between words that mean one of 129 everyday names, a small head decides that was trained
on photographs with masks (``models.name_head``); it is part of the wheel. What was measured: benchmarks/accuracy/mini.md.
"""

from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.conse import ConSE, ConSESettings
from lexiseg.models import efficientnet_lite, minilm
from lexiseg.models.name_head import load_name_head
from lexiseg.models.pip_weights import PipWeights

#: The head of known names: ``benchmarks/accuracy/mini_head.py`` makes it; the photographs are listed beside it.
HEAD = PipWeights(
    package="lexiseg",
    module="lexiseg",
    file="models/trained/mini_head.safetensors",
    sha256="95304ecfa3b484341d5745c6e4d225df18b3ab94facef771ba1ac4ec1b6dbb39",
    megabytes=0,
    licence="Apache-2.0",
)

#: Everything that ``build_mini`` reads from disk.
MINI_WEIGHTS: tuple[PipWeights, ...] = (efficientnet_lite.WEIGHTS, minilm.WEIGHTS, minilm.TOKENIZER, HEAD)

NOTICE = (
    "mini is a floor: it sees things only through the thousand names of ImageNet and 129 that it learnt from "
    "111 photographs, and knows sky, wall or grass by colour and position; a much stronger choice is "
    "--model openai/clip-vit-large-patch14."
)


def build_mini(method: ConSESettings | None = None) -> Segmenter:
    """Build the embedded default model (about 0.3 s; the text weights are read when a word is new).

    Args:
        method: Settings of ``methods.conse``; None for the ones that measured best.

    Raises:
        MissingWeightsError: A package with weights is not installed.
        CheckpointError: A file of weights is not the published one.
    """
    method = method or ConSESettings()
    head = None if method.head == "none" else load_name_head(HEAD.verified_path())
    fingerprints = {
        "image_weights": efficientnet_lite.WEIGHTS.sha256,
        "text_weights": minilm.WEIGHTS.sha256,
    }
    if head is not None:
        fingerprints["head_weights"] = HEAD.sha256
    return ConSE(
        efficientnet_lite.load_efficientnet_lite0(),
        minilm.load_minilm(),
        name="mini",
        settings=InferenceSettings(short_side=448, max_long_side=1344, prompts="single", refine="guided"),
        method=method,
        fingerprints=fingerprints,
        notice=NOTICE,
        head=head,
    )
