"""What a re-training has in its folder: two runs, and the pseudo masks between them."""

FIRST, PSEUDO_MASKS, SECOND = "first", "pseudo_masks", "second"
