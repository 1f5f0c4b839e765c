import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from lexiseg.core.coco_rle import area, decode, encode, encode_label_map

label_maps = arrays.arrays(
    np.uint16, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.sampled_from([0, 1, 2, 65535])
)


@settings(deadline=None, max_examples=150)
@given(label_maps)
def test_masks_of_a_label_map_are_pycocotools_strings_and_tile_the_image(label_map):
    encoded = encode_label_map(label_map, 3)
    covered = np.full(label_map.shape, 65535, np.uint16)
    for label, run_lengths in encoded.items():
        mask = label_map == label
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert run_lengths["counts"].encode() == expected["counts"]
        assert run_lengths["size"] == expected["size"]
        assert area(run_lengths) == coco_mask.area(expected)
        assert encode(mask) == run_lengths
        covered[decode(run_lengths)] = label
    np.testing.assert_array_equal(covered, label_map)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 12), st.integers(0, 10**6))
def test_blocky_maps_of_any_width_keep_every_run(height, width, block, seed):
    blocks = np.random.default_rng(seed).integers(0, 5, (height, width)).astype(np.uint16)
    label_map = np.repeat(np.repeat(blocks, block, 0), block, 1)
    for label, run_lengths in encode_label_map(label_map, 5).items():
        np.testing.assert_array_equal(decode(run_lengths), label_map == label)
