import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import normalize

from lexiseg.core.errors import DatasetError
from lexiseg.methods.rim.references.bank import ReferenceBank, merge_banks, parts_folder, save_bank
from lexiseg.methods.rim.references.build import build_bank
from lexiseg.methods.rim.references.profiles import inter_class_scores
from rim_toys import FACTS, SETTINGS, ColourEncoder, ColourSource, colour_bank


def test_a_bank_reads_back_what_was_built(tmp_path):
    bank = colour_bank(tmp_path / "a.bank", ["red", "blue"])
    assert bank.names == ("red", "blue")
    assert bank.references.shape == (4, 3)
    assert [bank.reference_rows(label) for label in (0, 1)] == [(0, 2), (2, 4)]
    assert bank.features.shape == (12, 3)
    assert bank.profiles.shape == (4, 2)
    assert bank.origins[:2] == ("seed 0", "seed 1")
    assert bank.thumbnail(0)[:2] == b"\xff\xd8"
    torch.testing.assert_close(bank.references.norm(dim=1), torch.ones(4))
    red = bank.read_class("red")
    assert red.facts["drawn"] == 6
    assert red.thumbnails[1] == bank.thumbnail(1)


def test_profiles_rank_the_own_class_first_but_below_one(tmp_path):
    profiles = colour_bank(tmp_path / "a.bank", ["red", "blue"]).profiles
    assert (profiles[:2, 0] > profiles[:2, 1]).all()
    assert (profiles[2:, 1] > profiles[2:, 0]).all()
    assert (profiles[:2, 0] < 1).all()


def test_leave_one_out_scores_agree_with_doing_it_by_hand():
    generator = torch.Generator().manual_seed(0)
    first = normalize(torch.randn(5, 4, generator=generator), dim=-1)
    second = normalize(torch.randn(3, 4, generator=generator), dim=-1)
    clusters = torch.tensor([0, 0, 1, 1, 1])
    centres = torch.stack([normalize(first[clusters == k].sum(0), dim=0) for k in (0, 1)])
    other = normalize(second.sum(0), dim=0)[None]
    found = inter_class_scores(
        [(first, clusters, centres), (second, torch.zeros(3, dtype=torch.int64), other)]
    )

    def own(index):
        rest = [i for i in range(5) if i != index]
        of = [[i for i in rest if clusters[i] == k] for k in (0, 1)]
        return max(float(first[index] @ normalize(first[part].sum(0), dim=0)) for part in of)

    wanted = np.mean([own(0), own(1)])
    # The sub-category an image is not in keeps its mean, so only its own one changes.
    assert float(found[0, 0]) == pytest.approx(wanted, abs=1e-5)
    assert float(found[0, 1]) == pytest.approx(float((first[:2] @ other.T).mean()), abs=1e-5)
    assert found.shape == (3, 2)


def test_one_image_gets_the_typical_own_score_and_one_alone_gets_one():
    one = torch.tensor([[1.0, 0.0]]), torch.zeros(1, dtype=torch.int64), torch.tensor([[1.0, 0.0]])
    assert inter_class_scores([one]).tolist() == [[1.0]]
    two = normalize(torch.tensor([[0.1, 1.0], [-0.1, 1.0]]), dim=-1)
    pair = two, torch.zeros(2, dtype=torch.int64), torch.tensor([[0.0, 1.0]])
    scores = inter_class_scores([one, pair])
    assert float(scores[0, 0]) == pytest.approx(float(scores[1, 1]))


def test_a_cut_off_bank_is_called_not_whole(tmp_path):
    path = tmp_path / "a.bank"
    colour_bank(path, ["red"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"a\.bank: found [\d,]+ bytes that are not whole"):
        ReferenceBank(path)


def test_another_safetensors_file_is_no_bank(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.bank")
    with pytest.raises(DatasetError, match="something else"):
        ReferenceBank(tmp_path / "a.bank")
    save_file(
        {"a": torch.zeros(2)}, tmp_path / "b.bank", metadata={"manifest": json.dumps({"format": "x-9"})}
    )
    with pytest.raises(DatasetError, match="found the format 'x-9'"):
        ReferenceBank(tmp_path / "b.bank")


def test_an_absent_bank_says_how_to_build_one_and_a_stopped_build_how_to_go_on(tmp_path):
    path = tmp_path / "a.bank"
    with pytest.raises(DatasetError, match=r"no such file.*lexiseg references build"):
        ReferenceBank(path)
    parts_folder(path).mkdir()
    (parts_folder(path) / "x.safetensors").write_bytes(b"")
    with pytest.raises(
        DatasetError, match=r"half-written bank: 1 finished classes.*goes on where it stopped"
    ):
        ReferenceBank(path)


def test_merging_equals_building_together(tmp_path):
    banks = [colour_bank(tmp_path / f"{word}.bank", [word]) for word in ("red", "blue")]
    assert merge_banks(banks, tmp_path / "both.bank") == 2
    together, merged = (
        colour_bank(tmp_path / "all.bank", ["red", "blue"]),
        ReferenceBank(tmp_path / "both.bank"),
    )
    assert merged.names == together.names
    assert merged.key("blue") == together.key("blue")
    assert (tmp_path / "both.bank").read_bytes() == (tmp_path / "all.bank").read_bytes()


def test_merging_does_not_mind_where_an_encoder_lies_but_how_a_class_is_spelt(tmp_path):
    first = colour_bank(tmp_path / "a.bank", ["red"])
    moved = {**FACTS, "name": "elsewhere/colours"}
    for word, out in (("blue", "b.bank"), ("red", "same.bank")):
        build_bank(
            [word], ColourSource(), ColourEncoder(), tmp_path / out, encoder_facts=moved, settings=SETTINGS
        )
    paths = ("b.bank", "same.bank")
    assert merge_banks([first, *(ReferenceBank(tmp_path / path) for path in paths)], tmp_path / "c.bank") == 2
    shouted = replace(first.read_class("red"), name="RED")
    save_bank(tmp_path / "d.bank", [shouted], encoder=first.encoder)
    with pytest.raises(DatasetError, match="the classes 'red' and 'RED', which differ by case"):
        merge_banks([first, ReferenceBank(tmp_path / "d.bank")], tmp_path / "e.bank")


def _entry(manifest, tensors, *, row=0, **changes):
    manifest["classes"][row] |= changes


def _tensor(name, change):
    def spoil(manifest, tensors):
        tensors[name] = change(tensors[name].clone())

    return spoil


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_tensor("features", lambda t: t.index_fill_(0, torch.tensor([1]), torch.nan)), "not finite"),
        (_tensor("profiles", lambda t: t.fill_(torch.inf)), "not finite"),
        (_tensor("profiles", lambda t: t.fill_(1.5)), "outside of -1 to 1"),
        (_tensor("nearness", lambda t: t.fill_(-2)), "outside of -1 to 1"),
        (_tensor("references", lambda t: t * 2), "no unit length"),
        (_tensor("references", lambda t: t[:-1]), "references of shape"),
        (_tensor("features", lambda t: t[:, :2]), "features of shape"),
        (_tensor("profiles", lambda t: t[:, :1]), "profiles of shape"),
        (_tensor("features", lambda t: t.float()), "another type"),
        (_tensor("clusters", lambda t: t.fill_(7)), "sub-category that is not there"),
        (_tensor("thumbnail_starts", lambda t: t.flip(0)), "thumbnails"),
        (_tensor("thumbnail_starts", lambda t: t + 1), "thumbnails"),
        (lambda _, tensors: tensors.pop("nearness"), "no tensor nearness"),
        (lambda manifest, _: manifest["classes"].clear(), "no class"),
        (lambda manifest, _: manifest["classes"][0].pop("key"), "an entry that is missing"),
        (lambda manifest, _: manifest["encoder"].update(short_side=0), "short side of 0"),
        (partial(_entry, row=1, name="Red "), "differ by case or spaces"),
        (partial(_entry, name=" "), "a class of the name ' '"),
        (partial(_entry, references=[0, 3]), "references 2 to 4 of 'blue', where they begin at 3"),
        (partial(_entry, references=[0, 0]), "0 references of 'red'"),
        (partial(_entry, images=[-1, 6]), "images -1 to 6"),
        (partial(_entry, origins=["a"]), "1 origins"),
        (partial(_entry, facts={}), "an entry that is missing"),
    ],
)
def test_a_bank_that_contradicts_itself_is_refused(tmp_path, sound_bank, spoil, found):
    path = tmp_path / "spoilt.bank"
    with safe_open(sound_bank, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
        manifest = json.loads(file.metadata()["manifest"])
    save_file(tensors, path, metadata={"manifest": json.dumps(manifest)})
    ReferenceBank(path)  # as it is it can be opened
    spoil(manifest, tensors)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"manifest": json.dumps(manifest)})
    with pytest.raises(DatasetError, match=f"opening the reference bank.*{found}.*build again"):
        ReferenceBank(path)


@pytest.fixture(scope="module")
def sound_bank(tmp_path_factory):
    return colour_bank(tmp_path_factory.mktemp("sound") / "a.bank", ["red", "blue"]).path


def test_nearness_leaves_each_image_out_and_does_not_count_single_ones(tmp_path):
    bank = colour_bank(tmp_path / "a.bank", ["red", "blue"])
    whole = (bank.features.float() @ bank.references.T).amax(1)
    assert (bank.nearness <= whole + 1e-3).all()
    assert (bank.nearness > 0.9).all()
    assert bank.nearness_quantile(0.0) == float(bank.nearness.min())
    build_bank(
        ["red", "blue"],
        ColourSource(),
        ColourEncoder(),
        tmp_path / "b.bank",
        encoder_facts=FACTS,
        settings=replace(SETTINGS, images=1),
    )
    single = ReferenceBank(tmp_path / "b.bank")
    assert single.nearness.tolist() == [-1, -1]
    assert single.nearness_quantile(0.5) == -1


def test_merging_refuses_other_encoders_and_other_images_of_a_class(tmp_path):
    first = colour_bank(tmp_path / "a.bank", ["red"])
    facts = {"name": "other", "fingerprint": "beef"}
    build_bank(
        ["blue"], ColourSource(), ColourEncoder(), tmp_path / "b.bank", encoder_facts=facts, settings=SETTINGS
    )
    with pytest.raises(DatasetError, match=r"features of other at 16 pixels \(beef\) and of colours"):
        merge_banks([first, ReferenceBank(tmp_path / "b.bank")], tmp_path / "c.bank")
    fewer = replace(SETTINGS, images=3)
    build_bank(
        ["red"], ColourSource(), ColourEncoder(), tmp_path / "d.bank", encoder_facts=FACTS, settings=fewer
    )
    with pytest.raises(DatasetError, match="different references for the class 'red'"):
        merge_banks([first, ReferenceBank(tmp_path / "d.bank")], tmp_path / "c.bank")
    assert not (tmp_path / "c.bank").exists()
