"""A head learns from whatever labels a folder has, is kept as a folder, and beats what it began with."""

import json

import numpy as np
import pytest
import torch

import lexiseg
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.folder import FolderDataset
from lexiseg.methods.frozen_head.fitting import fit_head, with_kept_prior
from lexiseg.methods.frozen_head.head import FrozenHead, LinearHead, head_inference
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.recipes.frozen_head import open_describer
from lexiseg.runs.fit import fit, load_head, score, scores_of
from lexiseg.runs.head_folder import HEAD, WEIGHT, read_head
from lexiseg.runs.next_images import choose_next
from lexiseg.runs.own_labels import Described, describe, evidence_of, words_in_captions
from sky_and_grass import NAMES, write_folder

#: A world of three classes and noise: no prior, so that what is learnt is learnt from the labels.
TINY = FrozenHeadSettings(
    backbone="tiny", prior="none", short_side=64, max_long_side=96, penalty=1.0, least_share=0.1, rounds=4
)
REGIMES = {
    "masks": ({"num_masks": 12}, ("masks",), 0.8),
    "masks and tags": ({"num_masks": 6, "seen": ("sky", "grass"), "tags": True}, ("masks", "tags"), 0.5),
    "tags": ({"tags": True}, ("tags",), 0.3),
    "captions": ({"captions": True}, ("captions",), 0.3),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("regime", REGIMES)
def test_each_regime_is_learnt_and_scored(tmp_path, regime):
    folder, labels, least = REGIMES[regime]
    data = write_folder(tmp_path / "data", num_val=4, **folder)
    found = fit(data, tmp_path / "head", TINY)
    assert found.labels == labels
    assert found.num_images == 12
    scores = scores_of(score(load_head(tmp_path / "head"), data))
    assert scores["mean_iou"] > least, "everything in one class gives 0.17"


def test_a_head_loads_like_any_model_and_knows_what_it_was_trained_on(tmp_path):
    data = write_folder(tmp_path / "data", num_masks=12, num_val=4)
    fit(data, tmp_path / "head", TINY)
    model = lexiseg.load(tmp_path / "head", device="cpu")
    assert model.vocabulary.names == NAMES
    result = model.segment(data / "images/15.png")
    assert result.label_map.shape == (64, 96)
    assert result.label_map[2, 2] == 0
    assert result.settings["method"]["labels"] == ["masks"]
    folder = FolderDataset(data)
    seen = model.trained_on.among(folder.files())
    assert [folder.stems[place] for place in seen] == [f"{number:02}" for number in range(12)]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    data = write_folder(tmp_path / "data", num_masks=12)
    fit(data, tmp_path / "head", TINY)
    with pytest.raises(InputError, match=r"found a head.*--overwrite"):
        fit(data, tmp_path / "head", TINY)
    (tmp_path / "head" / HEAD).unlink()  # as a kill leaves it
    fit(data, tmp_path / "head", TINY)
    fit(data, tmp_path / "head", TINY, overwrite=True)
    with pytest.raises(InputError, match=r"found a folder that is not empty.*another folder"):
        fit(data, tmp_path / "data", TINY)


@pytest.mark.parametrize(
    ("use", "found"), [("maks", "maks, which is no kind"), ("captions", "captions, which no image")]
)
def test_labels_that_are_not_there_are_refused_before_anything_is_written(tmp_path, use, found):
    data = write_folder(tmp_path / "data", num_masks=12)
    with pytest.raises(InputError, match=found):
        fit(data, tmp_path / "head", TINY, use=(use,))
    assert not (tmp_path / "head").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / HEAD).write_text("{"),
        lambda folder: (folder / HEAD).write_text(json.dumps({"format": 9})),
        lambda folder: (folder / WEIGHT).write_bytes(b"none"),
        lambda folder: (folder / WEIGHT).unlink(),
        lambda folder: (folder / HEAD).write_text((folder / HEAD).read_text().replace('"grass",', "")),
        lambda folder: (folder / HEAD).write_text(
            (folder / HEAD).read_text().replace('"describer": "', '"describer": "0')
        ),
    ],
    ids=["cut", "other format", "no tensors", "no weight", "a class less", "another network"],
)
def test_a_damaged_head_says_so(tmp_path, damage):
    fit(write_folder(tmp_path / "data", num_masks=4, num=4), tmp_path / "head", TINY)
    damage(tmp_path / "head")
    with pytest.raises(CheckpointError, match="head"):
        load_head(tmp_path / "head")


def test_patches_that_masks_leave_out_are_of_classes_without_masks(tmp_path):
    data = FolderDataset(write_folder(tmp_path / "data", num=2, num_masks=2, seen=("sky", "grass")))
    described = describe(data, open_describer(TINY, data.vocabulary), data.vocabulary, TINY)
    with_names = evidence_of(described[1], data.vocabulary, ("masks", "names"))
    assert with_names.candidates == (2,)
    assert not with_names.is_certain
    assert not bool(with_names.known[described[1].grid[1] * 4 + 6]), "where the cat is"
    assert evidence_of(described[1], data.vocabulary, ("masks",)).candidates == ()
    assert evidence_of(described[1], data.vocabulary, ("names",)).candidates == (0, 1, 2)


@pytest.mark.parametrize(
    ("caption", "labels"),
    [("Two Cats on grass", [2, 1]), ("a lawn", [1]), ("a catalogue", []), ("", [])],
)
def test_captions_name_classes_by_whole_words_and_synonyms(caption, labels):
    vocabulary = lexiseg.Vocabulary(names=NAMES, synonyms=((), ("lawn",), ()))
    assert words_in_captions(vocabulary)(caption) == labels


def test_images_that_are_unlike_the_masked_ones_are_asked_for_first(tmp_path):
    data = FolderDataset(write_folder(tmp_path / "data", num=8, num_masks=1))
    described = describe(data, open_describer(TINY, data.vocabulary), data.vocabulary, TINY)
    head = LinearHead(torch.zeros(described[0].rows.shape[1], 3))  # as unsure of all
    chosen = choose_next(described[1:], described[:1], head, 3)
    assert (chosen[0].place + 1) % 2 == 1, "the masked image shows no cat"
    assert len({choice.place for choice in chosen}) == 3
    assert np.isclose(chosen[0].uncertainty, 1.0)
    assert len(choose_next(described[1:], [], head, 99)) == 7


class TwoThings(ImageEncoder):
    """Describes four patches: two kinds by their first two numbers, and a prior of two classes."""

    stride = 8

    def forward(self, images):
        tokens = torch.tensor([[1.0, 0, 1, 0], [1, 0, 0.4, 0.6], [0, 1, 0, 1], [0, 1, 0, 1]])
        return PatchFeatures(tokens=tokens[None], grid=(2, 2), stride=8)


@pytest.mark.parametrize(
    ("num_alike", "smoothing", "labels"),
    [(2, 0.05, [0, 0, 1, 1]), (2, 0.0, [0, 1, 1, 1]), (0, 0.05, [0, 1, 1, 1])],
    ids=["smoothed", "smoothing 0", "a backbone that does not say what is alike"],
)
def test_scores_are_averaged_over_patches_that_are_alike(num_alike, smoothing, labels):
    head = FrozenHead(
        TwoThings(),
        LinearHead(torch.eye(4)[:, 2:], num_alike=num_alike, smoothing=smoothing),
        Vocabulary(names=("sky", "grass")),
        settings=head_inference(16, 16, has_background=False),
        facts={},
        name="head",
    )
    scores = head.encode_images(torch.zeros(1, 3, 16, 16)).tokens[0]
    assert scores.argmax(-1).tolist() == labels


def test_a_head_of_before_is_not_smoothed(tmp_path):
    data = write_folder(tmp_path / "data", num_masks=12)
    fit(data, tmp_path / "head", TINY)
    assert read_head(tmp_path / "head")[1].smoothing == TINY.smoothing
    written = json.loads((tmp_path / "head" / HEAD).read_text())
    written["format"] = 1
    del written["settings"]["smoothing"], written["settings"]["kept_prior"]
    (tmp_path / "head" / HEAD).write_text(json.dumps(written))
    assert read_head(tmp_path / "head")[1].smoothing == 0


@pytest.mark.parametrize(
    ("use", "is_kept"),
    [
        (("masks",), False),
        (("masks", "tags"), False),
        (("masks", "names"), False),
        (("tags",), True),
        (("captions",), True),
        (("tags", "captions"), True),
        (("names",), True),
    ],
)
def test_what_mini_says_is_kept_where_no_masks_were_learnt_from(use, is_kept):
    image = Described(
        rows=torch.tensor([[1.0, 0, 0.9, 0.1], [0, 1, 0.2, 0.8]]).half(),
        grid=(1, 2),
        shares=torch.eye(2).half(),
        known=torch.ones(2, dtype=torch.bool),
        in_masks=frozenset((0, 1)),
        tags=frozenset((0, 1)),
        in_captions=frozenset((0,)),
    )
    evidence = [evidence_of(image, Vocabulary(names=("sky", "grass")), use)]
    kept, not_kept = (
        fit_head(evidence, 2, FrozenHeadSettings(kept_prior=value), num_alike=0).weight
        for value in (1.0, 0.0)
    )
    assert (not torch.equal(kept, not_kept)) is is_kept


def test_what_mini_says_is_added_only_where_there_is_a_prior():
    weight = torch.zeros(5, 2)
    assert torch.equal(with_kept_prior(weight, TINY), weight)
    kept = with_kept_prior(weight, FrozenHeadSettings(kept_prior=2.0))
    assert kept.tolist() == [[0, 0], [0, 0], [0, 0], [2, 0], [0, 2]]
    assert not weight.any()
