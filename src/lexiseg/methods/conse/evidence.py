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
            values = parts[group]
            for index in values.topk(min(count, len(values))).indices.tolist():
                column = index + (group.start or 0)
                if float(values[index]) < _LEAST:
                    continue
                kind: EvidenceKind = "learnt name"
                if column < of_classifier:
                    kind = "ImageNet name"
                elif column < of_priors:
                    kind = "appearance"
                yield Evidence(
                    kind=kind,
                    name=called[column],
                    supports=asked.class_name(place),
                    value=float(values[index]),
                    measure="part of the match",
                )
