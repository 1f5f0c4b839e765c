from dataclasses import replace

import numpy as np
import pytest
import torch

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.methods.rim.references.bank import ReferenceBank, parts_folder
from lexiseg.methods.rim.references.build import build_bank
from lexiseg.methods.rim.references.build_class import BuildSettings, pool_image
from lexiseg.methods.rim.references.sources import ReferenceImage
from rim_toys import (
    COLOURS,
    FACTS,
    SETTINGS,
    ColourEncoder,
    ColourSource,
    colour_bank,
    colour_rim,
    quadrants,
)


def build(words, out, source=None, **changes):
    settings = replace(SETTINGS, **changes)
    source = source or ColourSource()
    return source, build_bank(words, source, ColourEncoder(), out, encoder_facts=FACTS, settings=settings)


def test_adding_a_class_builds_only_that_class(tmp_path):
    out = tmp_path / "a.bank"
    build(["red", "blue"], out)
    before = ReferenceBank(out).read_class("red")
    source, built = build(["red", "green"], out)
    assert source.asked == ["green"]
    assert (built.made, built.kept) == (("green",), ("red",))
    bank = ReferenceBank(out)
    assert bank.names == ("red", "blue", "green")
    assert torch.equal(bank.read_class("red").features, before.features)


def test_other_settings_build_a_class_again(tmp_path):
    out = tmp_path / "a.bank"
    build(["red"], out)
    _, built = build(["red"], out, images=3)
    assert built.made == ("red",)
    assert len(ReferenceBank(out).origins) == 3


def test_a_stopped_build_goes_on_with_the_next_class(tmp_path):
    class Stopping(ColourSource):
        def draw(self, class_name, count):
            if class_name == "blue":
                raise KeyboardInterrupt
            return super().draw(class_name, count)

    out = tmp_path / "a.bank"
    with pytest.raises(KeyboardInterrupt):
        build(["red", "blue"], out, Stopping())
    assert not out.exists()
    source, built = build(["red", "blue"], out)
    assert source.asked == ["blue"]
    assert built.kept == ("red",)
    assert not parts_folder(out).exists()
    colour_bank(tmp_path / "b.bank", ["red", "blue"])
    assert out.read_bytes() == (tmp_path / "b.bank").read_bytes()


def test_an_extended_bank_is_bit_by_bit_one_made_at_once(tmp_path):
    for words in (["red", "ghost"], ["blue", "red", "spectre"], ["green"]):
        build(words, tmp_path / "a.bank", ColourSource(has_scene=True))
    everything = ["red", "ghost", "blue", "spectre", "green"]
    build(everything, tmp_path / "b.bank", ColourSource(has_scene=True))
    assert (tmp_path / "a.bank").read_bytes() == (tmp_path / "b.bank").read_bytes()


def test_synonyms_give_images_where_those_of_the_name_are_too_few(tmp_path):
    class FewReds(ColourSource):
        def draw(self, class_name, count):
            drawn = list(super().draw(class_name, count))
            return iter(drawn[:2] if class_name == "red" else drawn)

    source = FewReds()
    build_bank(
        ["red", "blue"],
        source,
        ColourEncoder(),
        tmp_path / "a.bank",
        encoder_facts=FACTS,
        synonyms=[["green"], ["navy"]],
        settings=SETTINGS,
    )
    assert source.asked == ["red", "green", "blue"]
    bank = ReferenceBank(tmp_path / "a.bank")
    # seeds 0 and 1 go by both names: each image counts once, so that 0 to 5 are six
    assert bank.read_class("red").origins == tuple(f"seed {index}" for index in range(6))
    assert bank.synonyms("blue") == ("navy",)
    image, masks = quadrants()
    result = colour_rim(bank, masks).segment(image, ["Navy", "red"])
    assert (result.label_map[masks[2]] == 0).all()


@pytest.mark.parametrize("names", [["red", "Red"], ["blue", "RED"]])
def test_classes_that_differ_by_case_are_refused_within_a_build_and_with_the_bank(tmp_path, names):
    out = tmp_path / "a.bank"
    if names[0] == "blue":
        build(["red"], out)
    with pytest.raises(InputError, match=r"'red' and 'R.*', which differ by case or spaces only"):
        build(names, out)


def test_a_class_whose_images_are_all_rejected_is_left_out_and_recorded(tmp_path):
    _, built = build(["red", "ghost"], tmp_path / "a.bank")
    assert built.rejected["ghost"]["rejected"] == {"a black image": 1}
    bank = ReferenceBank(tmp_path / "a.bank")
    assert bank.names == ("red",)
    assert bank.rejected["ghost"]["drawn"] == 1
    with pytest.raises(DatasetError, match="no usable image \\(1 × a black image\\)"):
        build(["ghost"], tmp_path / "b.bank")
    assert not (tmp_path / "b.bank").exists()


def test_one_image_a_class_is_enough(tmp_path):
    build(["red", "blue"], tmp_path / "a.bank", images=1)
    bank = ReferenceBank(tmp_path / "a.bank")
    assert bank.references.shape == (2, 3)
    assert torch.isfinite(bank.profiles).all()


def test_a_bank_of_another_encoder_is_not_added_to(tmp_path):
    colour_bank(tmp_path / "a.bank", ["red"])
    other = {"name": "other", "fingerprint": "beef"}
    with pytest.raises(DatasetError, match=r"adding classes.*'colours'.*'other'"):
        build_bank(["blue"], ColourSource(), ColourEncoder(), tmp_path / "a.bank", encoder_facts=other)


def test_features_are_pooled_inside_the_mask_and_outside_where_there_is_a_scene():
    image = np.full((16, 16, 3), 255, np.uint8)
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    image[mask] = COLOURS["red"]
    inside, outside = pool_image(ReferenceImage(image=image, mask=mask, origin="x"), ColourEncoder(), 16)
    red = torch.tensor(COLOURS["red"], dtype=torch.float32)
    torch.testing.assert_close(inside, red / red.norm(), atol=1e-4, rtol=0)
    torch.testing.assert_close(outside, torch.full((3,), 3**-0.5), atol=1e-4, rtol=0)
    bare = ReferenceImage(image=image, mask=mask, origin="x", has_scene=False)
    assert pool_image(bare, ColourEncoder(), 16)[1] is None


def test_settings_must_be_positive():
    with pytest.raises(InputError, match="images = 0"):
        BuildSettings(images=0)
