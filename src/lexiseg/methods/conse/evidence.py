"""Which names a pixel resembles, and how much each counts for a word."""

from collections.abc import Iterator, Sequence

from lexiseg.core.explanation import Evidence, EvidenceKind
from lexiseg.data.class_lists import imagenet_classes
from lexiseg.inference.grounds import AskedPixel, tokens_at
from lexiseg.ops.scene_prior import SCENE_NAMES

#: Names that are told for a class: of the classifier and the priors, and of the head.
NUM_PLAIN, NUM_LEARNT = 4, 2
#: What a part counts at least to be told.
_LEAST = 1e-3


def evidence_at(asked: AskedPixel, places: Sequence[int], learnt: Sequence[str]) -> Iterator[Evidence]:
    """Yield what the words of some classes got their scores from at a pixel, the most first.

    A part is what the pixel is of a name times how well the name matches the word; the parts of the classifier and of the
    priors add up to the word's own score. Where a head knows the word, words share anew what the best of them had.

    Args:
        asked: The pixel.
        places: The classes; of each its best word.
        learnt: Names of the head; none without one.
    """
    tokens = tokens_at(asked.encoded, asked.point)
    known = imagenet_classes()
    of_classifier, of_priors = len(known), len(known) + len(SCENE_NAMES) + 1
    called = [*(each.name for each in known), *SCENE_NAMES, "with a person", *learnt]
    for place in places:
        matches = asked.class_names.embeddings[list(asked.rows_of(place))].float().cpu()
        parts = matches * tokens
        parts = parts[int(parts.sum(1).argmax())]
        for group, count in ((slice(0, of_priors), NUM_PLAIN), (slice(of_priors, None), NUM_LEARNT)):
            largest: dict[tuple[EvidenceKind, str], float] = {}
            for column in (parts[group] >= _LEAST).nonzero()[:, 0].add(group.start or 0).tolist():
                kind: EvidenceKind = "learnt name"
                if column < of_classifier:
                    kind = "ImageNet name"
                elif column < of_priors:
                    kind = "appearance"
                key = kind, called[column]  # ImageNet has some names twice
                largest[key] = largest.get(key, 0.0) + float(parts[column])
            for (kind, name), value in sorted(largest.items(), key=lambda item: -item[1])[:count]:
                yield Evidence(
                    kind=kind,
                    name=name,
                    supports=asked.class_name(place),
                    value=value,
                    measure="part of the match",
                )
