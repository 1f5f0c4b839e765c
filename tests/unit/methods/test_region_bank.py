"""The bank of unlabelled regions that CorrCLIP asks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from lexiseg.cli.references import Build
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.methods.borrowed_attention.region_bank import (
    RegionBank,
    RegionSupport,
    build_region_bank,
    mean_of_regions,
)
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.recipes.dense_similarity import DenseSettings, build_dense_similarity
from tiny_bank import save_tiny_bank
from tiny_checkpoints import save_tiny_clip
from tiny_vision_checkpoints import save_tiny_dinov2

SIZE = {"short_side": 48, "window": 32, "window_stride": 16, "refine": "none", "prompts": "bare"}


def rows(seed, count, width):
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def described(path):
    """Two regions a photograph, told by its name."""
    number = int(path.stem)
    return rows(number, 2, 6), rows(100 + number, 2, 4)


@pytest.fixture
def photographs(tmp_path):
    files = [tmp_path / "photos" / f"{number:02d}.png" for number in range(20)]
    files[0].parent.mkdir()
    for file in files:
        Image.new("RGB", (8, 8)).save(file)
    return files


def test_a_stopped_build_goes_on_and_gives_the_same_file(photographs, tmp_path):
    whole, parted, made_with = tmp_path / "whole.bank", tmp_path / "parted.bank", {"image_encoder": "a"}
    build_region_bank(photographs, described, whole, made_with=made_with)
    done = []

    def stops(path):
        if path.stem == "17":
            raise KeyboardInterrupt
        done.append(path)
        return described(path)

    with pytest.raises(KeyboardInterrupt):
        build_region_bank(photographs, stops, parted, made_with=made_with)
    assert not parted.exists()
    built = build_region_bank(photographs, described, parted, made_with=made_with)
    assert built.num_kept == 16
    assert (built.num_regions, len(built.damaged)) == (40, 0)
    assert parted.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "parted.bank.parts").exists()
    bank = RegionBank(parted)
    assert isinstance(bank.keys, np.memmap)
    np.testing.assert_array_equal(bank.keys[2:4], rows(1, 2, 6).half().numpy())
    np.testing.assert_array_equal(bank.values[38:], rows(119, 2, 4).half().numpy())


@pytest.mark.parametrize("search", ["exact", "ivf", "hnsw"])
def test_a_region_takes_the_mean_value_of_its_nearest(photographs, tmp_path, search):
    if search != "exact":
        pytest.importorskip("faiss")
    build_region_bank(photographs, described, tmp_path / "a.bank", made_with={})
    bank = RegionBank(tmp_path / "a.bank")
    asked = rows(7, 3, 6)
    found = RegionSupport(bank, search, 5).find(asked)
    nearest = (asked.numpy() @ bank.keys.astype(np.float32).T).argsort(axis=1)[:, ::-1][:, :5]
    expected = bank.values.astype(np.float32)[nearest].mean(axis=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert RegionSupport(bank, search, 1000).find(asked).shape == (3, 4), "more than there are means all"


def test_means_are_over_all_windows_and_leave_out_what_is_in_no_region():
    tokens = [torch.tensor([[1.0, 0], [0, 1], [5, 5]]), torch.tensor([[3.0, 0]])]
    places = [torch.tensor([1, 3, 0]), torch.tensor([3])]
    found, numbers = mean_of_regions(places, tokens, 3)
    assert numbers.tolist() == [1, 3]
    torch.testing.assert_close(found, normalize(torch.tensor([[1.0, 0], [1.5, 0.5]]), dim=1))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("regions")
    return save_tiny_clip(home / "clip"), save_tiny_dinov2(home / "dinov2")


def model_of(folders, bank="none", **more):
    beside = BorrowedAttentionSettings(vision=str(folders[1]), bank=str(bank), **more)
    return build_dense_similarity(str(folders[0]), DenseSettings(head="corrclip", beside=beside))


def photo(seed):
    """Four coloured quarters with a little noise: superpixels find them."""
    generator = np.random.default_rng(seed)
    quarters = generator.integers(0, 255, (2, 2, 3)).repeat(24, 0).repeat(32, 1)
    return (quarters + generator.normal(0, 3, quarters.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.exhaustive
def test_the_command_builds_what_the_head_then_asks(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        Image.fromarray(photo(seed)).save(tmp_path / "photos" / f"{seed}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "regions.bank"
    build = Build(
        unlabelled=tmp_path / "photos",
        model=str(folders[0]),
        set_=(f"beside.vision={folders[1]}",),
        out=out,
        device="cpu",
    )
    assert build.run() == 1
    said = capsys.readouterr()
    assert "of 2 photographs" in said.out
    assert "failed:" in said.err
    assert "broken.png" in said.err
    bank = RegionBank(out)
    assert bank.num_photographs == 2
    assert len(bank) >= 4
    np.testing.assert_allclose(np.linalg.norm(bank.values.astype(np.float32), axis=1), 1, atol=1e-2)
    asking = model_of(folders, out)
    results = [asking.segment(photo(0), ["cat", "dog", "sky"], **SIZE)]
    asking.method = replace(asking.method, bank_weight=0.0)
    silent = asking.segment(photo(0), ["cat", "dog", "sky"], **SIZE)
    asking.method, asking.support = replace(asking.method, bank_weight=0.5), None
    results = [asking.segment(photo(0), ["cat", "dog", "sky"], **SIZE), *results, silent]
    assert results[1].settings["method"]["bank_sha256"] == bank.sha256
    assert not np.allclose(results[0].score_map, results[1].score_map)
    np.testing.assert_allclose(results[0].score_map, results[2].score_map, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "found"),
    [
        ("absent", DatasetError, "no such file"),
        ("cut", DatasetError, "not whole"),
        ("other", InputError, "another image_encoder"),
        ("references", DatasetError, "the format"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused(folders, tmp_path, change, error, found, photographs):
    path = tmp_path / "a.bank"
    if change != "absent":
        build_region_bank(photographs, described, path, made_with={"image_encoder": "another"})
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    if change == "references":
        path.unlink()
        save_tiny_bank(path, ["cat"])
    with pytest.raises(error, match=found):
        model_of(folders, path)


def test_neither_or_both_sources_are_refused(tmp_path):
    for more in ({}, {"source": "folder", "unlabelled": tmp_path}):
        with pytest.raises(InputError, match="one of them"):
            Build(out=tmp_path / "a.bank", **more).run()
    with pytest.raises(InputError, match="no --model"):
        Build(out=tmp_path / "a.bank", unlabelled=tmp_path).run()
