"""What decides at a pixel in RIM: its region, how rankings compare, and the reference images nearest to it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lexiseg.core.explanation import Evidence
from lexiseg.inference.grounds import AskedPixel, Grounds, score_grounds
from lexiseg.methods.rim.vocabulary_references import BACKGROUND
from lexiseg.ops.painting import paint_regions

if TYPE_CHECKING:
    from lexiseg.methods.rim.segmenter import RIM

#: Reference images shown for a region: of the class that it has, and of the others.
NUM_NEAREST, NUM_OTHERS = 3, 2
_MEASURE = "divergence of rankings"
_RECONSTRUCTION = "The matching formula is a reconstruction of the paper's."


def region_grounds(model: "RIM", asked: AskedPixel) -> Grounds:
    """Tell what decides: a region takes the class whose references rank the classes most alike."""
    chosen = model.chosen_for(asked.class_names)
    regions = model.regions(asked.encoded)
    x, y = asked.point
    number = int(paint_regions(regions)[y, x]) if len(regions) and len(chosen.labels) else -1
    if number < 0:
        return _outside(model, asked)
    features = model.region_features(asked.encoded)
    matched, cosines = model.match(features, chosen)
    labels = chosen.labels.tolist()
    values = np.full(len(asked.class_names.labels), np.nan, np.float32)
    for candidate, apart in zip(
        matched.candidates[number].tolist(), matched.divergences[number].tolist(), strict=True
    ):
        values[labels[candidate]] = np.fmin(values[labels[candidate]], apart)
    grounds = Grounds(values=values, measure=_MEASURE, lower_wins=True)
    by_cosine = labels[int(matched.best_by_score[number])]
    winner = labels[int(matched.labels[number])]
    notes = [
        "Cosine alone says the same."
        if by_cosine == winner
        else f"Cosine alone would have said {asked.class_name(by_cosine)}."
    ]
    nearness = float(model.nearness(features[number][None])[0])
    if nearness < model.near_from:
        notes.append(
            f"No reference is near: cosine {nearness:.2f}, where known things have {model.near_from:.2f} or more."
        )
    evidence = []
    for place in grounds.two_best(asked.place):
        own = [candidate for candidate, label in enumerate(labels) if label == place]
        evidence.append(
            Evidence(
                kind="word",
                name=asked.class_name(place),
                supports=asked.class_name(place),
                value=float(cosines[number, own].max()),
                measure="cosine with its nearest reference",
            )
        )
    evidence += _nearest(
        model, asked, features[number], torch.tensor(chosen.bank_rows), chosen.labels, winner
    )
    return Grounds(
        values=values,
        measure=_MEASURE,
        lower_wins=True,
        evidence=tuple(evidence),
        notes=(*notes, _RECONSTRUCTION),
        region=regions[number],
    )


def _outside(model: "RIM", asked: AskedPixel) -> Grounds:
    note = "This pixel is in no region."
    words = [
        place
        for place in range(len(asked.class_names.labels))
        if any(float(asked.class_names.embeddings[row, 0]) == BACKGROUND for row in asked.rows_of(place))
    ]
    if words or asked.settings.background == "threshold":
        empty = np.full(len(asked.class_names.labels), np.nan, np.float32)
        return Grounds(values=empty, measure=_MEASURE, notes=(f"{note[:-1]}, and so background.",))
    plain = score_grounds(model, asked)
    return Grounds(
        values=plain.values,
        measure="cosine with the nearest reference",
        evidence=plain.evidence,
        notes=(f"{note[:-1]}: it goes by its own patch.",),
    )


def _nearest(
    model: "RIM",
    asked: AskedPixel,
    feature: Float[Tensor, " D"],
    bank_rows: Int[Tensor, " K"],
    labels: Int[Tensor, " K"],
    winner: int,
) -> Iterator[Evidence]:
    """Yield the reference images nearest to a region: of the winner first, they are why; then what else is near."""
    bank = model.bank
    known = torch.isin(bank.image_classes, bank_rows).nonzero()[:, 0]
    likeness = bank.features[known].float() @ feature
    own = torch.isin(bank.image_classes[known], bank_rows[labels == winner])
    of_winner = torch.where(own, likeness, -2.0).topk(min(NUM_NEAREST, int(own.sum()))).indices
    of_others = torch.where(own, -2.0, likeness).topk(min(NUM_OTHERS, int((~own).sum()))).indices
    for place in torch.cat([of_winner, of_others]).tolist():
        image = int(known[place])
        row = int(bank.image_classes[image])
        (label,) = labels[bank_rows == row][:1].tolist()
        yield Evidence(
            kind="reference",
            name=f"{bank.names[row]}: {bank.origins[image]}",
            supports=asked.class_name(label),
            value=float(likeness[place]),
            measure="cosine",
            image=bank.thumbnail(image),
        )
