import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lexiseg.core.coco_rle import area, decode, encode, encode_label_map
from lexiseg.core.errors import InputError


def peer(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_a_mask_written_by_hand_has_the_known_string():
    # Column order: 0 1 1 0, 1 1 0 0 -> runs 1 2 1 2 2; from the fourth on as differences: 1 2 1 0 1.
    mask = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=bool)
    assert encode(mask) == {"size": [4, 2], "counts": "12101"}


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (37, 53)])
def test_empty_and_full_masks_are_written_as_pycocotools_writes_them(size, value):
    mask = np.full(size, value)
    assert encode(mask)["counts"] == peer(mask)
    np.testing.assert_array_equal(decode(encode(mask)), mask)


def test_every_class_of_a_label_map_is_written_as_pycocotools_writes_it():
    blocks = np.random.default_rng(0).integers(0, 21, (38, 50)).astype(np.uint16)
    label_map = np.kron(blocks, np.ones((10, 10), np.uint16))[:375, :500]
    label_map[100:140, 200:300] = 65535
    encoded = encode_label_map(label_map, 21)
    assert list(encoded) == [label for label in np.unique(label_map).tolist() if label != 65535]
    for label, run_lengths in encoded.items():
        assert run_lengths["counts"] == peer(label_map == label)
        assert run_lengths["size"] == [375, 500]
        assert area(run_lengths) == np.count_nonzero(label_map == label)


def test_long_runs_need_several_characters_and_negative_differences_too():
    label_map = np.zeros((1000, 1000), np.uint16)
    label_map[:, 1:3] = label_map[10, 500:] = label_map[999, 999] = 3
    for label in (0, 3):
        assert encode_label_map(label_map, 4)[label]["counts"] == peer(label_map == label)


def test_a_map_of_void_has_no_masks():
    assert encode_label_map(np.full((5, 6), 65535, np.uint16), 3) == {}


def test_high_labels_and_views_in_any_memory_order_are_read_rightly():
    label_map = np.array([[0, 65534, 65534], [846, 846, 0]], np.uint16)
    for view in (np.asfortranarray(label_map), label_map[:, ::-1], label_map.T):
        for label, run_lengths in encode_label_map(view, 65535).items():
            np.testing.assert_array_equal(decode(run_lengths), view == label)


def test_a_label_out_of_range_is_refused_by_name():
    with pytest.raises(InputError, match=r"found label 7; expected labels 0 to 6 for 7 classes") as caught:
        encode_label_map(np.array([[0, 7]], np.uint16), 7)
    assert "number of classes" in caught.value.fix


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ("1210", "runs that add up to 6 pixels"),
        ("121", "runs that add up to 4 pixels"),
        ("12101P", "a damaged counts string"),  # ends inside a number
        ("12 01", "a damaged counts string"),
        ("12é01", "a damaged counts string"),
        ("", "runs that add up to 0 pixels"),
    ],
)
def test_damaged_counts_are_refused_with_what_is_wrong(counts, found):
    for function in (decode, area):
        with pytest.raises(InputError, match=found) as caught:
            function({"size": [4, 2], "counts": counts})
        assert "whole string" in str(caught.value)


def test_counts_are_read_as_bytes_too_as_pycocotools_gives_them():
    mask = np.zeros((9, 7), bool)
    mask[2:6, 1:5] = True
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert isinstance(theirs["counts"], bytes)
    assert (decode(theirs) == mask).all()
    assert area(theirs) == mask.sum()
    with pytest.raises(InputError, match="a damaged counts string"):
        decode({"size": [9, 7], "counts": b"\xff\xfe"})
