"""From a few images to their results: encoded together, then decided one by one."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.segmentation import Segmentation
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.none_of_these import judge
from lexiseg.inference.reuse import as_encoded, refuse_encoded_otherwise
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.views import scores_of_all

if TYPE_CHECKING:
    from lexiseg.inference.segmenter import Segmenter


def blocks_of(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cut items into lists of at most ``size``; the next is taken when it is asked for."""
    waiting = iter(items)
    while block := list(islice(waiting, size)):
        yield block


def segment_block(
    model: "Segmenter",
    block: list[Any],
    class_names: ClassNames,
    settings: InferenceSettings,
    changes: Mapping[str, Any],
    *,
    all_scores: bool,
) -> Iterator[Segmentation]:
    """Encode the images of a block that are not encoded yet, and decide each.

    Args:
        model: The segmenter.
        block: Images and encoded images.
        class_names: What competes.
        settings: What was asked for; of an encoded image, its size and windows stay.
        changes: What of that was named.
        all_scores: Keep the scores of all classes.

    Raises:
        ImageError: An image cannot be read.
        InputError: An image was encoded by another model or for another size.
    """
    for item in block:
        refuse_encoded_otherwise(item, model.name, changes)
    fresh = iter(model._encode([item for item in block if not isinstance(item, EncodedImage)], settings))
    for item in block:
        encoded = item if isinstance(item, EncodedImage) else next(fresh)
        used = as_encoded(settings, encoded)
        encoded = model.choose_views(encoded, class_names, used)
        decision = model.decide(encoded, class_names, used)
        count, is_tiled = len(class_names.counts), encoded.tiling is not None
        chance, unknown = judge(model, decision, count, used, is_tiled=is_tiled)
        label_map = decision.label_map(class_names, used)
        if used.none_of_these == "label" and unknown is not None:
            label_map = np.where(unknown, np.uint16(IGNORE_INDEX), label_map)
        yield Segmentation(
            label_map=label_map,
            score_map=decision.scores,
            vocabulary=class_names.vocabulary,
            image=encoded.image,
            source=encoded.source,
            settings=model._describe(used),
            unknown=unknown,
            absent_chance=chance,
            tiling=encoded.tiling,
            class_scores=scores_of_all(model, encoded, class_names, used) if all_scores else None,
        )
