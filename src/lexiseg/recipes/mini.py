"""mini: the model that comes through pip and needs no hub. A floor, not a result to be proud of.

EfficientNet-Lite0 (ImageNet) reads patches, all-MiniLM-L6-v2 compares ImageNet's names with words,
``methods.conse`` joins them. Measured in benchmarks/accuracy/mini.md.
"""

from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.conse import ConSE, ConSESettings
from lexiseg.models import efficientnet_lite, minilm
from lexiseg.models.pip_weights import PipWeights

#: Everything that ``build_mini`` reads from disk.
MINI_WEIGHTS: tuple[PipWeights, ...] = (efficientnet_lite.WEIGHTS, minilm.WEIGHTS, minilm.TOKENIZER)

NOTICE = (
    "mini is a floor: it sees things only through the thousand names of ImageNet and knows sky, wall or grass "
    "by colour and position alone; a much stronger choice is --model openai/clip-vit-base-patch16."
)


def build_mini(method: ConSESettings | None = None) -> Segmenter:
    """Build the embedded default model (about 0.3 s; the text weights are read when a word is new).

    Args:
        method: Settings of ``methods.conse``; None for the ones that measured best.

    Raises:
        MissingWeightsError: A package with weights is not installed.
        CheckpointError: A file of weights is not the published one.
    """
    return ConSE(
        efficientnet_lite.load_efficientnet_lite0(),
        minilm.load_minilm(),
        name="mini",
        settings=InferenceSettings(short_side=448, max_long_side=1344, prompts="single", refine="guided"),
        method=method or ConSESettings(),
        fingerprints={
            "image_weights": efficientnet_lite.WEIGHTS.sha256,
            "text_weights": minilm.WEIGHTS.sha256,
        },
        notice=NOTICE,
    )
