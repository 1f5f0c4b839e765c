"""A bank of random cut-outs, built with the embedded image encoder at a small size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lexiseg.methods.rim.references.build import BuildSettings, build_bank
from lexiseg.methods.rim.references.cutouts import CutoutSource
from lexiseg.models.checkpoint import fingerprint
from lexiseg.recipes.rim import load_reference_encoder


def save_tiny_bank(path: Path, words: Sequence[str]) -> Path:
    pictures = path.parent / "cutouts"
    pictures.mkdir()
    random = np.random.default_rng(0)
    for word in words:
        pixels = random.integers(0, 255, (64, 64, 4), dtype=np.uint8)
        pixels[..., 3] = 0
        pixels[12:52, 12:52, 3] = 255
        Image.fromarray(pixels).save(pictures / f"{word.replace(' ', '_')}.png")
    encoder, _ = load_reference_encoder("mini")
    facts = {"name": "mini", "fingerprint": fingerprint(encoder)}
    settings = BuildSettings(pictures=2, subcategories=1, short_side=64)
    build_bank(words, CutoutSource(pictures), encoder, path, encoder_facts=facts, settings=settings)
    return path
