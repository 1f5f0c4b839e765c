"""The protocols of SimSeg's paper are what our own SimSeg follows, and only where it is set as theirs."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lexiseg.data.class_lists import packaged_vocabulary
from lexiseg.data.folder import FolderDataset
from lexiseg.methods.simseg.segmenter import SimSeg
from lexiseg.methods.simseg.settings import MaskSettings
from lexiseg.recipes.simseg import tiny
from lexiseg.scoring.published import PROTOCOLS, STEPS, find_protocol
from lexiseg.scoring.score import score
from lexiseg.scoring.store.counts import StoreCounter
from lexiseg.scoring.store.predict import predict_into
from lexiseg.scoring.store.store import PredictionStore
from toy_segmenter import ColourSegmenter


def simseg(masks: MaskSettings) -> SimSeg:
    recipe = tiny()
    return replace(recipe, method=replace(recipe.method, masks=masks)).build_model().eval()


@pytest.fixture(autouse=True)
def words(monkeypatch):
    """Let the tiny text encoder know the words that it is asked for here."""
    renamed = ["table", "plant", "monitor"]  # as the protocol asks for them
    known = [*packaged_vocabulary("voc21").names, *renamed]
    monkeypatch.setattr("lexiseg.recipes.simseg._scene_words", lambda: known)


@pytest.fixture
def voc(tmp_path) -> FolderDataset:
    """Make one wide image with VOC's 21 classes."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "classes.txt").write_text("\n".join(packaged_vocabulary("voc21").names) + "\n")
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "images/a.png")
    Image.fromarray(np.full((40, 60), 3, np.uint8)).save(tmp_path / "labels/a.png")
    return FolderDataset(tmp_path)


@pytest.mark.parametrize(
    ("masks", "changes", "differing"),
    [
        (MaskSettings(), {}, ""),
        (MaskSettings(threshold_top_k=30), {}, "+not_applied=simseg-candidates-10"),
        (MaskSettings(dilations=5, erosions=3), {}, "+not_applied=simseg-masks"),
        (MaskSettings(), {"refine": "none"}, "+refine=none"),
        (MaskSettings(), {"keep_aspect": True}, "+keep_aspect=True"),
    ],
)
def test_our_simseg_follows_its_papers_protocol_and_a_change_shows(voc, tmp_path, masks, changes, differing):
    protocol = find_protocol("simseg-voc")
    short = protocol.changed(short_side=32, prompts="single")  # a tiny network; everything else as published
    predict_into(simseg(masks), voc, tmp_path / "s", protocol=short, **changes)
    store = PredictionStore(tmp_path / "s")
    assert store.manifest.settings["refine"] == changes.get("refine", "crf")
    assert store.manifest.settings["keep_aspect"] is changes.get("keep_aspect", False)
    found = score(StoreCounter(store), protocol)
    name = found.protocol.name
    for part in ("+short_side=32", "+prompts=single"):
        assert part in name
        name = name.replace(part, "")
    assert name == f"simseg-voc{differing}"
    assert any("not applied" in note for note in found.notes) == ("not_applied" in differing)


def test_another_method_under_the_protocol_is_told_what_it_does_not_apply(voc, tmp_path):
    protocol = find_protocol("simseg-voc").changed(short_side=32)
    predict_into(ColourSegmenter(), voc, tmp_path / "s", protocol=protocol)
    found = score(StoreCounter(PredictionStore(tmp_path / "s")), protocol)
    assert found.protocol.name == "simseg-voc+short_side=32+not_applied=simseg-candidates-10,simseg-masks"
    assert [note for note in found.notes if note.startswith("not applied by this run: ")] == [
        f"not applied by this run: {STEPS[step]}" for step in protocol.steps
    ]


@pytest.mark.parametrize(
    ("threshold_top_k", "names"), [(10, ["simseg-voc", "simseg-coco"]), (30, ["simseg-context"])]
)
def test_the_keys_of_the_method_are_those_of_the_protocols(threshold_top_k, names):
    applies = set(simseg(MaskSettings(threshold_top_k=threshold_top_k)).applies)
    assert applies <= set(STEPS)
    followed = [
        name for name, protocol in PROTOCOLS.items() if protocol.steps and set(protocol.steps) <= applies
    ]
    assert followed == names
