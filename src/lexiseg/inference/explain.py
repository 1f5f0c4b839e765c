"""From what decided at a pixel to an explanation, the same for all methods; and the pixels that explain an image."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt, label

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.explanation import Explanation, RankedClass
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Words
from lexiseg.data.images import ImageSource
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.grounds import AskedPixel, Grounds
from lexiseg.inference.reuse import as_encoded
from lexiseg.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from lexiseg.inference.segmenter import Segmenter

VOID = "void"
#: Classes of a ranking that are told.
NUM_RANKED = 8
#: Regions of an image that are explained, and the part of it that one has at least.
MOST_REGIONS, LEAST_SHARE = 24, 0.002


def check_point(point: object, size: tuple[int, int]) -> tuple[int, int]:
    """Return a pixel as two whole numbers.

    Args:
        point: ``(x, y)``.
        size: ``(height, width)`` of the image.

    Raises:
        InputError: It is no pixel of the image.
    """
    height, width = size
    try:
        x, y = (int(each) for each in point)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        x, y = -1, -1
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(
            doing="explaining a pixel",
            found=f"the point {point!r} in an image of {width}×{height} (width × height)",
            expected=f"X from 0 to {width - 1} and Y from 0 to {height - 1}, from the upper left corner",
            fix="Give a pixel of the image as (x, y); on the command line --point X,Y.",
        )
    return x, y


def explain(
    model: "Segmenter",
    image: ImageSource | EncodedImage,
    words: Words | ClassNames | None,
    point: tuple[int, int],
    changes: Mapping[str, Any],
) -> Explanation:
    """Segment an image and explain one pixel; see ``Segmenter.explain``."""
    settings = model.settings.changed(**changes)
    model.refuse_settings(settings)
    encoded = image if isinstance(image, EncodedImage) else model.encode(image, **changes)
    point = check_point(point, (encoded.image.shape[0], encoded.image.shape[1]))
    if not isinstance(words, ClassNames):
        words = model.name_classes(model.own_words() if words is None else words, settings)
    segmentation = model.segment(encoded, words, **changes)
    return explain_pixel(model, encoded, words, segmentation, settings, point)


@torch.inference_mode()
def explain_pixel(
    model: "Segmenter",
    encoded: EncodedImage,
    class_names: ClassNames,
    segmentation: Segmentation,
    settings: InferenceSettings,
    point: tuple[int, int],
) -> Explanation:
    """Tell why a pixel has the label that a segmentation gave it.

    Args:
        model: What segmented.
        encoded: The image.
        class_names: What competed.
        segmentation: The result.
        settings: What it was made with.
        point: ``(x, y)``.

    Raises:
        InputError: It is no pixel of the image.
    """
    x, y = check_point(point, segmentation.shape)
    used = as_encoded(settings, encoded)
    encoded = model.choose_views(encoded, class_names, used)
    number = int(segmentation.label_map[y, x])
    place = class_names.labels.index(number) if number in class_names.labels else None
    asked = AskedPixel(encoded=encoded, class_names=class_names, settings=used, point=(x, y), place=place)
    grounds = model.grounds(asked)
    order, two = grounds.order(), grounds.two_best(place)
    runner_up = margin = None
    if place is not None and len(two) > 1:
        runner_up = two[1]
        if not np.isnan(grounds.values[place]):
            ahead = float(grounds.values[place]) - float(grounds.values[runner_up])
            margin = -ahead if grounds.lower_wins else ahead
    elif place is None and order:
        runner_up = order[0]
        if number != IGNORE_INDEX and used.background == "threshold" and used.threshold is not None:
            margin = used.threshold - float(segmentation.score_map[y, x])
    return Explanation(
        point=(x, y),
        label=VOID if number == IGNORE_INDEX else segmentation.vocabulary.names[number],
        score=float(segmentation.score_map[y, x]),
        measure=grounds.measure,
        lower_wins=grounds.lower_wins,
        ranking=tuple(
            RankedClass(name=asked.class_name(each), value=float(grounds.values[each]))
            for each in order[:NUM_RANKED]
        ),
        runner_up=None if runner_up is None else asked.class_name(runner_up),
        margin=margin,
        evidence=grounds.evidence,
        notes=(*_notes(segmentation, asked, grounds), *grounds.notes),
        region=grounds.region,
        model=model.name,
    )


def _notes(segmentation: Segmentation, asked: AskedPixel, grounds: Grounds) -> Iterator[str]:
    x, y = asked.point
    number, place = int(segmentation.label_map[y, x]), asked.place
    order = grounds.order()
    if number == IGNORE_INDEX:
        yield "Void: the pixel resembles nothing of what was asked for."
    elif place is None:
        yield "Background: no class is above what the settings ask for here."
    elif order and order[0] != place:
        why = (
            "borders were moved along edges of the image"
            if asked.settings.refine != "none"
            else "its neighbours, or other windows, decided"
        )
        yield f"By itself this pixel would be {asked.class_name(order[0])}: {why}."
    if segmentation.unknown is not None and bool(segmentation.unknown[y, x]):
        yield "Unknown: words that are not there score as high, or no reference is near."
    if segmentation.is_doubtful and segmentation.absent_chance is not None:
        yield (
            f"Perhaps none of the words is in the image: in {segmentation.absent_chance:.0%} of photographs, words that "
            "are not there score as high."
        )


def explain_regions(
    model: "Segmenter",
    encoded: EncodedImage,
    class_names: ClassNames,
    segmentation: Segmentation,
    settings: InferenceSettings,
) -> list[tuple[Bool[np.ndarray, "H W"], Explanation]]:
    """Explain the largest regions of an image, each by the pixel that lies deepest in it.

    A region is what the method decided together where it decides so, else connected pixels of one label. Arguments are
    those of ``explain_pixel``.

    Returns:
        Regions and explanations, at most ``MOST_REGIONS``, of at least ``LEAST_SHARE`` of the image.
    """
    left = np.ones(segmentation.shape, bool)
    found: list[tuple[Bool[np.ndarray, "H W"], Explanation]] = []
    while len(found) < MOST_REGIONS:
        part = _largest_part(segmentation.label_map, left)
        if part is None or (found and part.mean() < LEAST_SHARE):
            break
        deepest = int(np.argmax(distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]))
        y, x = divmod(deepest, part.shape[1])
        explanation = explain_pixel(model, encoded, class_names, segmentation, settings, (x, y))
        together = explanation.region
        region = part if together is None or not together[y, x] else part & together
        found.append((region, explanation))
        left &= ~region
    return found


def _largest_part(label_map: np.ndarray, left: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"] | None:
    """Return the largest connected pixels of one label among those that are left."""
    best: Bool[np.ndarray, "H W"] | None = None
    most = 0
    for number in np.unique(label_map[left]):
        parts, count = label(left & (label_map == number))
        if count == 0:
            continue
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        if sizes.max() > most:
            most = int(sizes.max())
            best = parts == int(sizes.argmax())
    return best
