import numpy as np
import pytest
import torch

from lexiseg.app.fair_queue import Visitor
from lexiseg.app.image_store import ImageStore, num_bytes
from lexiseg.app.refusals import RefusalError
from lexiseg.core.features import PatchFeatures
from toy_segmenter import ColourSegmenter

ONE, TWO = Visitor(host="a", page="1"), Visitor(host="a", page="2")


def encoded(side: int):
    return ColourSegmenter().encode(np.zeros((side, side, 3), np.uint8))


def store_of(count: float) -> ImageStore:
    """A store that holds so many images of 64 × 64."""
    return ImageStore(int(count * num_bytes(encoded(64))), lambda _: 0)


def test_bytes_are_those_of_every_array_once():
    tokens = torch.zeros(1, 4, 8)
    features = PatchFeatures(tokens=tokens, grid=(2, 2), stride=4, global_token=tokens[:, 0])
    assert num_bytes({"a": features, "b": [features, np.zeros((3, 5), np.uint8)]}) == 4 * 8 * 4 + 15


def test_the_oldest_goes_first_and_what_was_used_is_young():
    images = store_of(2.5)
    first, second = (images.add(ONE, str(number), encoded(64)).id for number in range(2))
    images.get(first)
    images.add(ONE, "3", encoded(64))
    assert images.get(first).name == "0"
    with pytest.raises(RefusalError, match="made room for others") as refused:
        images.get(second)
    assert refused.value.status == 404
    assert images.num_bytes <= images.max_bytes


def test_whoever_holds_most_loses_first():
    images = store_of(4.5)
    modest = images.add(TWO, "mine", encoded(64)).id
    for number in range(20):
        images.add(ONE, str(number), encoded(64))
    assert images.get(modest).name == "mine"
    assert len(images) == 4


def test_what_alone_is_too_large_is_refused_and_leaves_the_others():
    images = store_of(2.5)
    kept = images.add(TWO, "small", encoded(64)).id
    with pytest.raises(RefusalError, match=r"MiB with its features") as refused:
        images.add(ONE, "large", encoded(256))
    assert refused.value.status == 413
    assert images.get(kept).name == "small"


def test_what_the_model_remembers_of_an_image_counts():
    images = ImageStore(10 * num_bytes(encoded(64)), lambda _: 4 * num_bytes(encoded(64)))
    for number in range(3):
        images.add(ONE, str(number), encoded(64))
    assert len(images) == 2


def test_ids_are_long_and_all_different():
    images = store_of(300)
    ids = {images.add(ONE, "a", encoded(64)).id for _ in range(100)}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {32}
    for each in ids:
        images.remove(each)
    assert (len(images), images.num_bytes) == (0, 0)
