"""Open what references are built from: by each process that builds some."""

from pathlib import Path
from typing import Any, NamedTuple

from lexiseg.core.interfaces import ImageEncoder
from lexiseg.engine.devices import choose_device
from lexiseg.methods.rim.references.sources import ReferenceSource
from lexiseg.recipes.rim import build_source, load_reference_encoder


class ReferenceParts(NamedTuple):
    """What references are built from.

    Attributes:
        source: Gives images of classes.
        encoder: Gives their features.
        short_side: Of images, as the encoder likes to see them.
    """

    source: ReferenceSource
    encoder: ImageEncoder
    short_side: int


def open_references(
    source: str, path: Path | None, *, encoder: str, device: str, **settings: Any
) -> ReferenceParts:
    """Open a source of images and an encoder.

    Args:
        source: As for ``build_source``.
        path: As there.
        encoder: As for ``load_reference_encoder``.
        device: As for ``choose_device``.
        settings: Further ones of ``build_source``.

    Raises:
        LexisegError: One of them cannot be opened.
    """
    chosen = choose_device(device)
    opened = build_source(source, path, device=chosen, **settings)
    network, short_side = load_reference_encoder(encoder)
    return ReferenceParts(opened, network.to(chosen), short_side)
