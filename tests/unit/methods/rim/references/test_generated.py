from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from lexiseg.core.errors import DatasetError
from lexiseg.core.masks import Masks
from lexiseg.methods.rim.references.bank import ReferenceBank
from lexiseg.methods.rim.references.build import build_bank
from lexiseg.methods.rim.references.generated import GeneratedSource
from lexiseg.methods.rim.references.sources import ReferenceImage
from lexiseg.models.stable_diffusion import GeneratedImage
from rim_toys import FACTS, SETTINGS, ColourEncoder


class Squares:
    """Draw a red square on blue and attend to it; every second image goes wrong as ``fault`` says."""

    def __init__(self, fault: str = "none", *, always: bool = False) -> None:
        self.fault, self.always, self.seeds = fault, always, []

    def facts(self) -> Mapping[str, Any]:
        return {"model": "squares"}

    def generate(self, class_name: str, seed: int) -> GeneratedImage:
        self.seeds.append(seed)
        image = np.full((32, 32, 3), (20, 20, 200), np.uint8)
        image[8:24, 8:24] = (200, 20, 20)
        attention = np.zeros((8, 8), np.float32)
        attention[2:6, 2:6] = 3.0
        if self.always or len(self.seeds) % 2:
            if self.fault == "black":
                image[:] = 0
            elif self.fault == "even":
                attention[:] = 1
            elif self.fault == "elsewhere":
                attention[:] = 0
                attention[0, 3:8] = 1
            elif self.fault == "everywhere":
                attention[:] = np.linspace(0.9, 1, 64, dtype=np.float32).reshape(8, 8)
        return GeneratedImage(image=image, attention=attention, seed=seed)


class RedRegion:
    def __init__(self) -> None:
        self.points = []

    def masks_at(self, image, points):
        self.points.append(points)
        return Masks(masks=(image[..., 0] > 100)[None])


def source(fault="none", **options):
    return GeneratedSource(Squares(fault, **options), RedRegion(), segmenter_facts={"name": "red"})


def test_the_object_is_found_through_points_where_the_words_attended():
    made = source()
    (image,) = made.draw("square", 1)
    assert isinstance(image, ReferenceImage)
    assert image.mask.sum() == 256
    points = made.segmenter.points[0]
    assert points.shape == (5, 2)
    assert ((points >= 8) & (points < 24)).all()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("black", "a black image"),
        ("even", "fewer than 5 places"),
        ("elsewhere", "lies elsewhere"),
    ],
)
def test_unusable_images_are_counted_and_drawn_again(tmp_path, fault, reason):
    out = tmp_path / "a.bank"
    build_bank(["square"], source(fault), ColourEncoder(), out, encoder_facts=FACTS, settings=SETTINGS)
    bank = ReferenceBank(out)
    facts = bank.read_class("square").facts
    assert len(bank.origins) == SETTINGS.images
    assert facts["drawn"] == 2 * SETTINGS.images
    assert [text for text in facts["rejected"] if reason in text]
    assert facts["generator"] == {"model": "squares"}
    assert all(origin.startswith("seed ") for origin in bank.origins)


def test_drawing_ends_when_nothing_is_ever_usable(tmp_path):
    with pytest.raises(DatasetError, match=r"no usable image \(18 × a black image"):
        build_bank(
            ["square"], source("black", always=True), ColourEncoder(), tmp_path / "a.bank",
            encoder_facts=FACTS, settings=SETTINGS,
        )  # fmt: skip


def test_an_all_foreground_map_has_points_and_a_image():
    made = source("everywhere", always=True)
    drawn = list(made.draw("square", 1))
    assert made.segmenter.points[0].shape == (5, 2)
    assert isinstance(drawn[0], ReferenceImage)


def test_seeds_belong_to_the_class_and_do_not_depend_on_the_vocabulary():
    first, second = source(), source()
    list(first.draw("cat", 3))
    list(second.draw("dog", 2))
    list(second.draw("cat", 3))
    assert first.generator.seeds == second.generator.seeds[2:]
    assert len(set(second.generator.seeds)) == 5
    assert first.content("cat", 3) != first.content("dog", 3)
