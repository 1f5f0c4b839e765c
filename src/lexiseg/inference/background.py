"""What happens to pixels that are none of the words."""

from dataclasses import replace

import numpy as np

from lexiseg.core.errors import InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.resize import RunningBest

BACKGROUND = "background"


def with_background(vocabulary: Vocabulary, settings: InferenceSettings) -> Vocabulary:
    """Give the vocabulary that label maps will index under ``settings.background``.

    With ``name`` and ``threshold`` a class named background is appended where there is none.
    """
    if settings.background == "none" or vocabulary.background is not None:
        return vocabulary
    return replace(
        vocabulary,
        names=(*vocabulary.names, BACKGROUND),
        synonyms=(*vocabulary.synonyms, ()),
        background=len(vocabulary),
    )


def competing_classes(vocabulary: Vocabulary, settings: InferenceSettings) -> list[int]:
    """Give the labels whose names compete for pixels: with ``threshold`` background does not.

    Raises:
        InputError: No class is left, or the model has no threshold of its own and none is given.
    """
    if settings.background != "threshold":
        return list(range(len(vocabulary)))
    if settings.threshold is None:
        raise InputError(
            doing="choosing background by a threshold",
            found="no threshold, and this model has none of its own",
            expected="a number on the model's score scale",
            fix="Give one with --threshold; the mean scores printed for a picture show the scale.",
        )
    labels = [label for label in range(len(vocabulary)) if label != vocabulary.background]
    if not labels:
        raise InputError(
            doing="choosing background by a threshold",
            found="background as the only class",
            expected="at least one other class",
            fix="Add the names of things to find.",
        )
    return labels


def paint_background(best: RunningBest, vocabulary: Vocabulary, settings: InferenceSettings) -> None:
    """Give pixels whose best score is below the threshold to background, in place."""
    if settings.background == "threshold":
        assert vocabulary.background is not None
        assert settings.threshold is not None
        best.labels[best.best < np.float32(settings.threshold)] = vocabulary.background
