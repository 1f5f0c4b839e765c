"""Look-ups over label maps give what numpy gives at once, and take no 64-bit copy of them."""

import tracemalloc

import numpy as np
import pytest

from lexiseg.core import label_maps
from lexiseg.core.label_maps import label_counts, relabel
from toy_segmenter import ColourSegmenter

LABELS = np.random.default_rng(0).integers(0, 5, (37, 29)).astype(np.uint16)
SCORES = np.random.default_rng(1).random((37, 29), np.float32)


@pytest.mark.parametrize("pixels", [1, 40, 1 << 20])
def test_counts_sums_and_other_labels_are_those_of_the_whole(monkeypatch, pixels):
    monkeypatch.setattr(label_maps, "_PIXELS", pixels)
    counts, sums = label_counts(LABELS, 8, SCORES)
    assert counts.tolist() == np.bincount(LABELS.ravel(), minlength=8).tolist()
    assert np.allclose(sums, np.bincount(LABELS.ravel(), SCORES.ravel(), minlength=8), rtol=1e-12)
    to = np.array([9, 65535, 3, 0, 1], np.uint16)
    assert np.array_equal(relabel(LABELS.copy(), to), to[LABELS])


def test_an_empty_map_and_labels_beyond_the_vocabulary_are_counted():
    assert label_counts(np.zeros((0, 4), np.uint16), 2)[0].tolist() == [0, 0]
    assert label_counts(np.full((2, 2), 65535, np.uint16), 2)[0][-1] == 4


def test_no_copy_with_wider_numbers_is_made():
    labels, scores = np.zeros((4096, 4096), np.uint16), np.zeros((4096, 4096), np.float32)
    tracemalloc.start()
    label_counts(labels, 3, scores)
    relabel(labels, np.array([1], np.uint16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * labels.size  # bytes a pixel; the whole at once takes 16


@pytest.mark.parametrize("refine", ["none", "guided"])
def test_a_large_image_takes_little_more_than_its_results(refine):
    """The image that results keep, labels and scores are nine bytes a pixel; numpy's indices of labels are eight."""
    model = ColourSegmenter(refine=refine)
    image = (
        np.random.default_rng(0)
        .integers(0, 255, (15, 15, 3), np.uint8)
        .repeat(100, axis=0)
        .repeat(100, axis=1)
    )
    model.segment(image[:300, :300], "red, green, blue")
    tracemalloc.start()
    model.segment(image, "red, green, blue")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 14 * image.shape[0] * image.shape[1]
