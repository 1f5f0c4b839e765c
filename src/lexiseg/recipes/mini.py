"""mini: the model that comes through pip and needs no hub. A floor, not a result to be proud of.

EfficientNet-Lite0 (ImageNet) reads patches, all-MiniLM-L6-v2 compares ImageNet's names with words,
``methods.conse`` joins them. A small head decides between words that mean one of 129 everyday names (``models.name_head``); it
was trained on photographs with masks and is part of the wheel. ``head="none"`` goes without. Where dinov2-small is on the
machine, it smooths, unless ``smooth="none"``. What was measured: benchmarks/accuracy/mini.md.
"""

from lexiseg.data.trained_on import TrainedOn
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.conse.segmenter import ConSE
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.models import efficientnet_lite, minilm
from lexiseg.models.dinov2 import Dinov2ImageEncoder, load_dinov2
from lexiseg.models.dinov2_small import dinov2_small_folder
from lexiseg.models.dinov2_small import is_present as has_dinov2_small
from lexiseg.models.name_head import load_name_head
from lexiseg.models.pip_weights import PipWeights

#: The head of known names: ``benchmarks/accuracy/mini_head.py`` makes it; the photographs are listed beside it.
HEAD = PipWeights(
    package="lexiseg",
    module="lexiseg",
    file="models/trained/mini_head.safetensors",
    sha256="7d335d69e9dd25456e1fd5aa3cff4c90651173201376c4968a460ec83ab6f2d1",
    megabytes=0,
    licence="Apache-2.0",
    trained_on="111 photographs with masks (mini_head_ATTRIBUTION.tsv lists them)",
)

#: Blocks of dinov2-small; chosen before, on other photographs, as was the temperature of 0.1.
SMOOTHER_LAYERS = 9

#: Everything that ``build_mini`` reads from disk.
MINI_WEIGHTS: tuple[PipWeights, ...] = (efficientnet_lite.WEIGHTS, minilm.WEIGHTS, minilm.TOKENIZER, HEAD)

NOTICE = (
    "mini is a floor: it knows the thousand names of ImageNet and 129 more from 111 photographs with masks, and "
    "guesses everything else; a much stronger choice is --model openai/clip-vit-large-patch14."
)

SMOOTHED = "It is smoothed by dinov2-small, which is on this machine; --set smooth=none goes without."


def build_mini(method: ConSESettings | None = None) -> Segmenter:
    """Build the embedded default model (about 0.3 s; the text weights are read when a word is new).

    Args:
        method: Settings of ``methods.conse``; None for the defaults.

    Raises:
        MissingWeightsError: A package with weights is not installed.
        CheckpointError: A file of weights is not the published one.
    """
    method = method or ConSESettings()
    head = None if method.head == "none" else load_name_head(HEAD.verified_path())
    smoother = load_smoother() if is_smoothed(method) else None
    fingerprints = {
        "image_weights": efficientnet_lite.WEIGHTS.sha256,
        "text_weights": minilm.WEIGHTS.sha256,
    }
    if head is not None:
        fingerprints["head_weights"] = HEAD.sha256
    if smoother is not None:
        fingerprints["smooth_weights"] = smoother.fingerprint
    model = ConSE(
        efficientnet_lite.load_efficientnet_lite0(),
        minilm.load_minilm(),
        name="mini",
        settings=InferenceSettings(short_side=448, max_long_side=1344, prompts="single", refine="guided"),
        method=method,
        fingerprints=fingerprints,
        notice=NOTICE if smoother is None else f"{NOTICE} {SMOOTHED}",
        head=head,
        smoother=smoother,
    )
    if head is not None:
        model.trained_on = TrainedOn.read(HEAD.verified_path().with_name("mini_head_ATTRIBUTION.tsv"))
    return model


def is_smoothed(method: ConSESettings) -> bool:
    """Return whether dinov2-small smooths: where it is asked for, or is here and was not refused."""
    return method.smooth == "dinov2" or (method.smooth == "auto" and has_dinov2_small())


def load_smoother() -> Dinov2ImageEncoder:
    """Load the first nine blocks of dinov2-small, whose patches are compared for smoothing.

    Raises:
        MissingWeightsError: It is not in the cache; the message says how to get it.
    """
    return load_dinov2(dinov2_small_folder(), num_layers=SMOOTHER_LAYERS)
