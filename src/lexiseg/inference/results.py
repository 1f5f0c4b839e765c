"""From a few images to their results: encoded together, then decided one by one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.segmentation import Segmentation
from lexiseg.data.images import ImageSource, load_image
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import EncodedImage, encode_images
from lexiseg.inference.none_of_these import judge
from lexiseg.inference.reuse import as_encoded, refuse_encoded_otherwise
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.views import scores_of_all

if TYPE_CHECKING:
    from lexiseg.inference.segmenter import Segmenter


def check_batch_size(batch_size: int) -> None:
    """Refuse a number of images that cannot be worked on at a time.

    Raises:
        InputError: It is no whole number from 1 on.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(
            doing="segmenting images",
            found=f"batch_size = {batch_size!r}",
            expected="a whole number from 1 on",
            fix="Leave it out for 8.",
        )


def blocks_of(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cut items into lists of at most ``size``; the next is taken when it is asked for."""
    waiting = iter(items)
    while block := list(islice(waiting, size)):
        yield block


def encode_sources(
    model: "Segmenter",
    images: Sequence[ImageSource],
    settings: InferenceSettings,
    *,
    are_windows: bool = False,
) -> list[EncodedImage]:
    """Read images, cut them into regions where the method wants that, and encode them.

    Args:
        model: The segmenter.
        images: What to read.
        settings: Sizes and windows.
        are_windows: The images are windows of something that has no up, as of a raster.

    Raises:
        ImageError: An image cannot be read.
    """
    loaded = [load_image(image) for image in images]
    regions = [found for image in loaded if (found := model.propose_regions(image)) is not None]
    encoded = encode_images(
        model.encode_images,
        loaded,
        [Path(image) if isinstance(image, str | Path) else None for image in images],
        model=model.name,
        stride=model.stride,
        settings=settings,
        device=next(iter(model.parameters()), torch.empty(0)).device,
        dtype=model.dtype,
        regions=regions or None,
        encode_windows=model.encode_windows,
        are_windows=are_windows,
    )
    return [model.finish_encoding(each) for each in encoded]


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
    fresh = iter(
        encode_sources(model, [item for item in block if not isinstance(item, EncodedImage)], settings)
    )
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
