"""``lexiseg references build --unlabelled``: a bank of regions that have no class."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lexiseg.cli.options import load_segmenter
from lexiseg.cli.progress import progress
from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    from lexiseg.runs.licences import LicenceLimit


def build_unlabelled(
    photos: Path,
    model: str | None,
    changes: tuple[str, ...],
    out: Path,
    device: str,
    licence: "LicenceLimit",
) -> int:
    """Describe the regions of photographs; return the exit code, 1 where a photograph could not be read."""
    from lexiseg.data.unlabelled_images import UnlabelledImages
    from lexiseg.methods.borrowed_attention.corrclip import CorrClip
    from lexiseg.methods.borrowed_attention.region_bank import build_region_bank

    if model is None:
        raise _no_corrclip("no --model")
    segmenter = load_segmenter(model, device, ("head=corrclip", *changes), trust=False, licence=licence)
    if not isinstance(segmenter, CorrClip):
        raise _no_corrclip(f"{model} with another head")
    if segmenter.vision is None or segmenter.proposer is None or segmenter.support is not None:
        raise _no_corrclip("no vision model, no proposer, or a bank that is asked already")
    images = UnlabelledImages(photos)
    files = [images.image_path(index) for index in range(len(images))]
    with progress("describing regions", len(files)) as advance:
        built = build_region_bank(
            files, segmenter.describe_regions, out, made_with=segmenter.made_with(), advance=advance
        )
    for note in images.notes:
        print(f"note: {note}", file=sys.stderr)
    read = len(files) - len(built.damaged)
    print(
        f"{built.num_regions:,} regions of {read:,} photographs ({built.num_kept:,} described before); {out}"
    )
    for file, why in built.damaged.items():
        print(f"  failed: {file}: {why}", file=sys.stderr)
    print(
        f"next: lexiseg segment PHOTO --words … --model {model} --set head=corrclip --set beside.bank={out}"
    )
    return 1 if built.damaged else 0


def _no_corrclip(found: str) -> InputError:
    return InputError(
        doing="building a bank of regions",
        found=found,
        expected="a CLIP with the head corrclip, a vision model whose features find regions again, and a proposer",
        fix="Give --model CLIP --set beside.vision=dinov2-small --set beside.proposer=classical.",
    )
