"""The readers on real label files, where the samples are at hand."""

from pathlib import Path

import numpy as np
import pytest

from lexiseg.core.errors import DatasetError
from lexiseg.data.datasets import DATASETS, open_dataset
from lexiseg.data.published.checks import check_dataset, check_folder
from lexiseg.data.published.label_encodings import read_values

SHARED = Path(__file__).parents[4].parent / "shared" / "data"


def samples(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"real samples are absent: {path}")
    return path


def ade_copy(root: Path) -> Path:
    source = samples("ade20k-samples") / "sampleData"
    for kind in ("images", "annotations"):
        (root / kind).mkdir()
        (root / kind / "validation").symlink_to(source / kind)
    return root


def test_ade_samples_read_without_doubt(tmp_path):
    path = ade_copy(tmp_path)
    report = check_dataset(DATASETS["ade20k-150"], path, whole=False)
    assert report.is_good, report.lines()
    assert not [finding for finding in report.findings if finding.level == "warning"]
    dataset = open_dataset("ade20k-150", path)
    assert dataset.stems == [f"ADE_val_0000000{k}" for k in (1, 2, 3)]
    seen = {dataset.vocabulary.names[k] for sample in dataset for k in np.unique(sample.label_map) if k < 150}
    assert {"sky", "building", "person"} & seen


def test_ade_names_are_the_official_ones():
    lines = (samples("ade20k-samples") / "objectInfo150.txt").read_text().splitlines()[1:]
    official = [[word.strip() for word in line.split("\t")[4].split(",")] for line in lines]
    vocabulary = DATASETS["ade20k-150"].read_vocabulary(Path())
    left_out = [set(words) - set(ours) for words, ours in zip(official, vocabulary.all_names(), strict=True)]
    assert set().union(*left_out) == {"counter", "pot", "screen", "stool"} <= set(vocabulary.names)
    both = zip(vocabulary.all_names(), official, left_out, strict=True)
    assert all({*ours, *shared} == set(words) for ours, words, shared in both)


def test_free_coco_images_are_a_good_folder():
    report = check_folder(samples("coco-free"))
    assert report.is_good, report.lines()
    assert report.num_label_files == 26


def test_panoptic_png_is_refused_as_a_two_channel_mask():
    path = min((samples("coco-panoptic-samples") / "sample_data/panoptic_examples").glob("*.png"))
    with pytest.raises(DatasetError, match="a blue channel not 0"):
        read_values(path, "red-green", 51, path.stem)
