import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import (
    DatasetError,
    InputError,
    MissingWeightsError,
    UnknownNameError,
    VocabularyError,
)
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.methods.rim.references.bank import ReferenceBank, save_bank
from lexiseg.methods.rim.references.generated import ImageGenerator, PointSegmenter
from lexiseg.methods.rim.references.sources import ReferenceImage, RejectedImage
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.models.mask_generator import MaskGeneratorSettings
from lexiseg.recipes.rim import (
    build_source,
    load_prompted,
    load_proposer,
    load_reference_encoder,
    object_at_salient_points,
)
from lexiseg.runs.load import load
from lexiseg.runs.method_settings import change_settings, list_settings, parse_changes
from tiny_bank import save_tiny_bank
from tiny_vision_checkpoints import save_tiny_dinov2, save_tiny_sam, save_tiny_stable_diffusion


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    return str(save_tiny_sam(tmp_path_factory.mktemp("sam")))


def test_what_a_source_needs_is_named():
    with pytest.raises(UnknownNameError, match="cutouts, folder, generate"):
        build_source("cutout", None)
    with pytest.raises(InputError, match="Give it with --from PATH"):
        build_source("cutouts", None)
    with pytest.raises(InputError, match="--generator"):
        build_source("generate", None)
    with pytest.raises(InputError, match="--sam"):
        build_source("generate", None, generator="x")
    with pytest.raises(MissingWeightsError, match="hf download no/such --local-dir"):
        build_source("generate", None, generator="no/such", sam="x")


@pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="diffusers (extra diffusion) is absent"
)
def test_a_diffusion_model_and_sam_draw_images_or_say_why_not(tmp_path, sam):
    folder = save_tiny_stable_diffusion(tmp_path / "sd")
    source = build_source("generate", None, generator=str(folder), sam=sam, steps=2)
    assert isinstance(source.generator, ImageGenerator)
    assert isinstance(source.segmenter, PointSegmenter)
    facts = source.facts()
    assert facts["generator"]["prompt"] == "a photo of a {}"
    assert len(facts["generator"]["fingerprint"]) == 64
    drawn = list(source.draw("cat", 1))
    again = list(source.draw("cat", 1))
    assert drawn
    assert [each.origin for each in drawn] == [each.origin for each in again]
    assert all(isinstance(each, ReferenceImage | RejectedImage) for each in drawn)


def test_sam_finds_the_object_of_images_without_a_mask(tmp_path, sam):
    (tmp_path / "cat").mkdir()
    image = np.full((40, 60, 3), (90, 160, 90), np.uint8)
    image[10:30, 20:40] = (220, 40, 40)
    Image.fromarray(image).save(tmp_path / "cat" / "a.png")
    source = build_source("folder", tmp_path, sam=sam)
    assert "salient points" in source.found_by
    assert len(list(source.draw("cat", 1))) == 1
    blank = np.full((20, 20, 3), 7, np.uint8)
    assert object_at_salient_points(load_prompted(sam), blank).shape == (20, 20)


def test_encoders_and_proposers_load_by_folder(tmp_path, sam):
    encoder, side = load_reference_encoder(str(save_tiny_dinov2(tmp_path / "dino")))
    assert side == 518
    assert load_proposer("classical", encoder).encoder is encoder


def test_every_setting_of_sams_masks_is_reached_by_name(sam):
    names = {setting.name for setting in list_settings(RIMSettings())}
    assert {f"mask_generator.{field.name}" for field in dataclasses.fields(MaskGeneratorSettings)} <= names
    changes = {"proposer": sam, "mask_generator.points_per_side": 3, "mask_generator.min_stability": 0.5}
    settings = change_settings(RIMSettings(), changes, model="a.bank")
    encoder, _ = load_reference_encoder("mini")
    proposer = load_proposer(settings.proposer, encoder, settings=settings.mask_generator)
    assert (proposer.settings.points_per_side, proposer.settings.min_stability) == (3, 0.5)
    with pytest.raises(InputError, match="points_per_side = 0; expected a number from 1"):
        change_settings(RIMSettings(), {"mask_generator.points_per_side": 0}, model="a.bank")


def test_dinov2_small_is_an_encoder_and_a_proposer_by_name(tmp_path, monkeypatch):
    from lexiseg.models import dinov2_small
    from lexiseg.models.region_proposer import DINOV2_REGIONS, RegionProposer

    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingWeightsError, match="lexiseg models --get dinov2-small"):
        load_proposer("dinov2-small", ColourAlone())
    folder = save_tiny_dinov2(tmp_path / "dino")
    monkeypatch.setattr(dinov2_small, "_folder", lambda cache: folder)
    monkeypatch.setattr(dinov2_small, "_check_converted", lambda folder: None)
    encoder, side = load_reference_encoder("dinov2-small")
    proposer = load_proposer("dinov2-small", ColourAlone())
    assert (side, encoder.stride) == (518, 7)
    assert isinstance(proposer, RegionProposer)
    assert proposer.encoder.fingerprint == encoder.fingerprint
    assert proposer.settings == DINOV2_REGIONS


class ColourAlone(ImageEncoder):
    """A bank's own encoder, of which the proposer makes no use."""

    stride = 4

    def forward(self, images):
        raise AssertionError("not to be asked")


def test_generating_without_a_usable_image_is_an_error_that_counts(tmp_path):
    from lexiseg.methods.rim.references.build import build_bank
    from lexiseg.methods.rim.references.build_class import BuildSettings
    from rim_toys import FACTS, ColourEncoder

    path = Path(tmp_path / "cat")
    path.mkdir()
    Image.fromarray(np.full((20, 20, 3), 7, np.uint8)).save(path / "a.png")
    source = build_source("folder", tmp_path)
    with pytest.raises(DatasetError, match="1 × the object covers less than 1%"):
        build_bank(
            ["cat"],
            source,
            ColourEncoder(),
            tmp_path / "a.bank",
            encoder_facts=FACTS,
            settings=BuildSettings(),
        )


@pytest.fixture(scope="module")
def moved_bank(tmp_path_factory):
    """A bank whose encoder is recorded at a place that is gone."""
    folder = tmp_path_factory.mktemp("moved")
    bank = ReferenceBank(save_tiny_bank(folder / "here.bank", ["cat", "dog"]))
    classes = [bank.read_class(name) for name in bank.names]
    save_bank(folder / "a.bank", classes, encoder={**bank.encoder, "name": "gone/encoder"})
    return folder / "a.bank"


def test_a_bank_moves_with_its_encoder_which_is_checked_by_fingerprint(moved_bank, tmp_path):
    with pytest.raises(
        MissingWeightsError, match=r"built with: gone/encoder at 64 pixels.*--set encoder=FOLDER"
    ):
        load(moved_bank)
    assert load(moved_bank, method_settings={"encoder": "mini"}).bank.encoder["name"] == "gone/encoder"
    other = str(save_tiny_dinov2(tmp_path / "dinov2"))
    with pytest.raises(DatasetError, match=r"features of gone/encoder at 64.*--set encoder=FOLDER"):
        load(moved_bank, method_settings={"encoder": other})


def test_background_can_be_set_by_name_from_the_command_line(moved_bank):
    model = load(moved_bank, method_settings=parse_changes(["encoder=mini", "background=negatives"]))
    assert model.method.background == "negatives"
    with pytest.raises(VocabularyError, match='references of "background"'):
        model.segment(np.zeros((64, 64, 3), np.uint8), "background, cat")
