"""What decides at a pixel in SimSeg: the image's own scores, the masks cut from maps, and the word pieces of the winner."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float32

from lexiseg.core.explanation import Evidence
from lexiseg.inference.grounds import AskedPixel, Grounds, values_at
from lexiseg.methods.simseg.text_encoder import unit
from lexiseg.ops.prompts import fill, find_prompt_set

if TYPE_CHECKING:
    from lexiseg.methods.simseg.segmenter import SimSeg

#: Word pieces that are told.
NUM_PIECES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundClasses:
    """The classes of an image.

    Attributes:
        scores: Cosine of every competing class with the whole image.
        background: Place of the background among them, where it competes by its name.
        present: Places of the classes that the image has.
        masks: One each, at the image's own size.
    """

    scores: Float32[np.ndarray, " C"]
    background: int | None
    present: tuple[int, ...]
    masks: Bool[np.ndarray, "M H W"]


def class_grounds(model: "SimSeg", asked: AskedPixel) -> Grounds:
    """Tell what decides: of the classes whose masks hold the pixel, what the whole image scores for each."""
    x, y = asked.point
    found = model.find_classes(asked.encoded, asked.class_names, asked.settings)
    patch = values_at(model, asked, asked.class_names.embeddings, asked.class_names.counts)
    values = np.full(len(found.scores), np.nan, np.float32)
    holding = [label for label, mask in zip(found.present, found.masks, strict=True) if mask[y, x]]
    notes = []
    for label in holding:
        values[label] = found.scores[label]
    if found.background is not None:
        values[found.background] = 0.0  # what a class of the image must be above
    elif not holding and asked.settings.background != "threshold":
        nearest = int(patch.argmax())
        values[nearest] = found.scores[nearest]
    if not holding:
        notes.append(
            "No class of the image has a mask here: "
            + (
                "the pixel goes to the word nearest to its own patch."
                if found.background is None
                else "background."
            )
        )
    if found.present:
        names = ", ".join(asked.class_name(label) for label in found.present)
        notes.append(f"Classes that the image as a whole has: {names}.")
    grounds = Grounds(values=values, measure="cosine with the whole image", notes=tuple(notes))
    evidence: list[Evidence] = []
    places = grounds.two_best(asked.place)
    for place in places:
        name = asked.class_name(place)
        for kind, value in (("image", found.scores[place]), ("word", patch[place])):
            evidence.append(
                Evidence(
                    kind="image" if kind == "image" else "word",
                    name=name,
                    supports=name,
                    value=float(value),
                    measure="cosine with the whole image" if kind == "image" else "cosine with this patch",
                )
            )
    if places:
        evidence += pieces_of(model, asked, places[0])
    region = None
    if asked.place in holding:
        region = found.masks[found.present.index(asked.place)]
    return Grounds(
        values=values, measure=grounds.measure, evidence=tuple(evidence), notes=grounds.notes, region=region
    )


@torch.inference_mode()
def pieces_of(model: "SimSeg", asked: AskedPixel, place: int) -> list[Evidence]:
    """Return the word pieces that carry a class's first name, by their part of its cosine with the whole image.

    LoDA takes every channel from the pieces that are largest in it: a piece's part is the sum over the channels taken from it.
    Parts are means over the sentences of the prompt set; special tokens have parts too.
    """
    vectors = [each.global_token[0] for each in asked.encoded.features if each.global_token is not None]
    image = unit(torch.stack(vectors).mean(0)).float().cpu()
    name = asked.class_names.names[asked.rows_of(place)[0]]
    sentences = fill(find_prompt_set(asked.settings.prompts), name)
    parts: dict[str, float] = {}
    for pieces, shares in model.texts.piece_parts(sentences, image):
        for piece, share in zip(pieces, shares.tolist(), strict=True):
            parts[piece] = parts.get(piece, 0.0) + share / len(sentences)
    largest = sorted(parts.items(), key=lambda item: -item[1])[:NUM_PIECES]
    return [
        Evidence(
            kind="token",
            name=piece,
            supports=asked.class_name(place),
            value=value,
            measure="part of the cosine with the whole image",
        )
        for piece, value in largest
    ]
