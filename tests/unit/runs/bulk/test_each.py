"""What goes through the job layer gives the same whoever does it: here, sent to another process, or by two of them."""

import operator
import pickle
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from caption_files import image_bytes, write_folder, write_parquet, write_shards
from dataset_trees import LAYOUTS
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.captions.pack import pack_captions
from lexiseg.data.datasets import DATASETS
from lexiseg.data.published.convert import convert_dataset
from lexiseg.data.published.reader import PublishedDataset
from lexiseg.inference.segment_raster import RasterRequest, segment_raster
from lexiseg.methods.rim.references.build import build_bank
from lexiseg.runs.bulk.each import EachJob, mapper
from lexiseg.runs.bulk.job import Workers
from lexiseg.scoring.store.counts import StoreCounter
from rim_toys import FACTS, SETTINGS, ColourEncoder, ColourSource
from toy_segmenter import ColourSegmenter
from written_rasters import COLOURS, WORDS, truth, write_raster
from written_stores import image_of, make_store


def by_pickle(function, inputs):
    """Do everything as another process would."""
    for one in inputs:
        yield pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(function))(one)))


HOW = [by_pickle, pytest.param(mapper("acting", Workers(count=2)), marks=pytest.mark.exhaustive)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_published_data_sets_cross_process_borders(tmp_path, name):
    layout = next(layout for known, layout in LAYOUTS if known == name)
    tree = LAYOUTS[name, layout](tmp_path)
    dataset = PublishedDataset(DATASETS[name], tree.path, next(iter(tree.truth)), layout=layout)
    again = pickle.loads(pickle.dumps(dataset))
    assert again.fingerprint() == dataset.fingerprint()
    assert np.array_equal(again.read_label_map(0), dataset.read_label_map(0))


@pytest.mark.parametrize("apply", HOW)
def test_conversions_are_the_same_files(tmp_path, apply):
    tree = LAYOUTS["voc20", "SegmentationClass"](tmp_path / "source")
    dataset = PublishedDataset(DATASETS["voc20"], tree.path, next(iter(tree.truth)))
    assert convert_dataset(dataset, tmp_path / "one") == len(dataset)
    assert convert_dataset(dataset, tmp_path / "two", apply=apply) == len(dataset)
    assert convert_dataset(dataset, tmp_path / "two", apply=apply) == 0
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


@pytest.mark.parametrize("apply", HOW)
def test_counts_are_the_same_numbers(tmp_path, apply):
    drawn = np.random.default_rng(0).integers(0, 3, (40, 2, 5)).tolist()
    images = [image_of(f"m{place}", [predicted], [true]) for place, (true, predicted) in enumerate(drawn)]
    store = make_store(tmp_path / "s", ("a", "b", "c"), images)
    here, there = StoreCounter(store).counts(), StoreCounter(store, apply=apply).counts()
    assert here.num_images == 40
    for part in ("image", "true", "predicted", "pixels"):
        assert np.array_equal(getattr(here, part), getattr(there, part))


def write_tar_pairs(folder):
    write_shards(folder / "pairs", (5, 4))


def write_parquet_pairs(folder):
    columns = {"image": [image_bytes(number) for number in range(9)], "caption": ["a cat"] * 8 + [""]}
    (folder / "pairs").mkdir()
    write_parquet(folder / "pairs/0.parquet", columns)


def write_folder_pairs(folder):
    write_folder(folder / "pairs", 9)


@pytest.mark.parametrize("apply", HOW)
@pytest.mark.parametrize("write", [write_tar_pairs, write_parquet_pairs, write_folder_pairs])
def test_packed_captions_are_the_same_shards(tmp_path, apply, write):
    write(tmp_path)
    source = open_caption_source(tmp_path / "pairs", cache=None)
    here = pack_captions(source, tmp_path / "one", shard_bytes=3000)
    there = pack_captions(source, tmp_path / "two", shard_bytes=3000, apply=apply)
    assert there == here
    assert here.num_shards > 1
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def opened():
    return ColourSource(), ColourEncoder()


@pytest.mark.parametrize("apply", HOW)
def test_banks_are_the_same_bytes(tmp_path, apply):
    words = ["red", "nothing", "green", "blue"]
    build = partial(
        build_bank, words, ColourSource(), ColourEncoder(), encoder_facts=FACTS, settings=SETTINGS
    )
    here = build(tmp_path / "one.bank")
    there = build(tmp_path / "two.bank", apply=apply, opened_by=opened)
    assert (tmp_path / "two.bank").read_bytes() == (tmp_path / "one.bank").read_bytes()
    assert there == here
    assert here.made == ("red", "green", "blue")
    assert set(here.rejected) == {"nothing"}


def raster_request():
    return RasterRequest.build(ColourSegmenter(), WORDS, polygons="geojson")


@pytest.mark.parametrize("apply", HOW)
def test_rasters_are_the_same_files(tmp_path, apply):
    labels = truth(330, 40, side=13)
    path = write_raster(tmp_path / "scene.tif", COLOURS[labels])
    segment_raster(path, raster_request(), tmp_path / "one")
    asked, seen = raster_request(), []
    segment_raster(
        path, asked, tmp_path / "two",
        apply=apply, opened_by=raster_request, advance=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert len(files_of(tmp_path / "two")) == 4
    assert seen == [(number, len(seen)) for number in range(1, len(seen) + 1)]
    assert len(seen) > 4
    assert not asked.model.encoded_batches, "all was done by others"


@pytest.mark.exhaustive
def test_results_come_in_order():
    assert list(mapper("negating", Workers(count=2))(operator.neg, range(40))) == [
        -each for each in range(40)
    ]


class Counted(list):
    """A list that knows how far it was read."""

    read = 0

    def __iter__(self):
        for self.read, one in enumerate(super().__iter__(), start=1):
            yield one


def wait_for_others(folder, number):
    """Do the first input when many others are done, or nothing more happens for a while."""
    if number == 0:
        end = time.monotonic() + 0.5
        while time.monotonic() < end and len(list(folder.iterdir())) < 100:
            time.sleep(0.01)
    (folder / str(number)).touch()
    return number


@pytest.mark.exhaustive
def test_results_that_wait_for_an_earlier_one_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(EachJob, "window", 8)
    inputs = Counted(range(200))
    found = mapper("waiting", Workers(count=2))(partial(wait_for_others, tmp_path), inputs)
    assert next(found) == 0
    assert inputs.read <= 2 * 8 + 1
    assert list(found) == list(range(1, 200))
    assert len(list(tmp_path.iterdir())) == 200
