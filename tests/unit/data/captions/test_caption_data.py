from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from caption_files import good_members, image_bytes, write_folder, write_parquet, write_shard, write_shards
from lexiseg.core.batch import Batch
from lexiseg.core.errors import DatasetError
from lexiseg.data.augmentation.rand_augment import RandAugment
from lexiseg.data.augmentation.random_erasing import RandomErasing
from lexiseg.data.augmentation.word_corruption import WordCorruption
from lexiseg.data.captions import caption_data, tar_source
from lexiseg.data.captions.caption_data import CaptionData
from lexiseg.data.captions.opening import open_captions
from lexiseg.data.captions.word_prompts import WordListTagger, WordPrompts


def open_small(path: object, tmp_path: Path, **changes: Any) -> CaptionData:
    settings: dict[str, Any] = {"batch_size": 6, "size": 16, "corruption": WordCorruption(), "window": 20}
    return open_captions(path, **(settings | {"invalid_log": tmp_path / "invalid_log"} | changes))  # type: ignore[arg-type]


def same(first: Batch, second: Batch) -> bool:
    return (
        torch.equal(first.images, second.images)
        and first.captions == second.captions
        and first.sources == second.sources
    )


@pytest.fixture(params=["tar", "folder", "parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "tar":
        return write_shards(tmp_path / "shards")
    if request.param == "folder":
        return write_folder(tmp_path / "folder")
    images = [image_bytes(number) for number in range(40)]
    captions = [[f"one of {number}", f"another of {number}"] for number in range(40)]
    return write_parquet(tmp_path / "data.parquet", {"image": images, "captions": captions})


@pytest.mark.exhaustive
def test_workers_change_no_batch(path: Path, tmp_path: Path) -> None:
    data = open_small(path, tmp_path)
    here = list(data.batches(start_step=0, stop_step=12))
    there = list(data.batches(start_step=0, stop_step=12, num_workers=2))
    assert len(here) == len(there) == 12
    assert all(map(same, here, there))


def test_starting_in_the_middle_gives_the_same_batches(path: Path, tmp_path: Path) -> None:
    whole = list(open_small(path, tmp_path).batches(start_step=0, stop_step=14))
    rest = list(open_small(path, tmp_path).batches(start_step=5, stop_step=14))
    assert all(map(same, whole[5:], rest))


def test_two_devices_share_what_one_has(path: Path, tmp_path: Path) -> None:
    data = open_small(path, tmp_path)
    alone = data.batches(start_step=2, stop_step=8)
    shares = [data.batches(start_step=2, stop_step=8, rank=rank, world_size=2) for rank in (0, 1)]
    for batch, first, second in zip(alone, *shares, strict=True):
        assert same(batch.part(0, 3), first)
        assert same(batch.part(3, 6), second)


def test_every_record_comes_once_an_epoch_and_epochs_differ(path: Path, tmp_path: Path) -> None:
    data = open_small(path, tmp_path)
    count = len(data.source)
    assert data.steps_per_epoch == count / 6
    sources = [source for batch in data.batches(start_step=0, stop_step=count) for source in batch.sources]
    epochs = [sources[start : start + count] for start in range(0, 6 * count, count)]
    assert all(len(set(epoch)) == count for epoch in epochs)
    assert Counter(sources) == Counter(dict.fromkeys(epochs[0], 6))
    assert epochs[0] != epochs[1]


def test_one_of_several_captions_is_drawn_anew_in_each_epoch(tmp_path: Path) -> None:
    data = open_small(write_folder(tmp_path / "folder", captions=3), tmp_path, corruption=None)
    seen: dict[str, set[str]] = {}
    for batch in data.batches(start_step=0, stop_step=60):
        for source, caption in zip(batch.sources, batch.captions or (), strict=True):
            seen.setdefault(source, set()).add(caption)
    assert all(len(captions) == 3 for captions in seen.values())
    assert seen["images#007"] == {f"caption {turn} of 7" for turn in range(3)}


def test_a_image_is_augmented_differently_in_each_epoch(tmp_path: Path) -> None:
    data = open_small(write_folder(tmp_path / "folder", count=6), tmp_path)
    first, second = data.batches(start_step=0, stop_step=2)
    at = second.sources.index(first.sources[0])
    assert not torch.equal(first.images[0], second.images[at])


def test_without_augmentation_a_image_is_only_resized(tmp_path: Path) -> None:
    data = open_small(
        write_folder(tmp_path / "folder", count=6), tmp_path, crop=None, auto_augment=False, corruption=None
    )
    first, second = data.batches(start_step=0, stop_step=2)
    at = second.sources.index(first.sources[0])
    assert torch.equal(first.images[0], second.images[at])


def test_word_prompts_come_with_the_caption_and_are_the_same_in_any_process(
    path: Path, tmp_path: Path
) -> None:
    prompts = WordPrompts(tagger=WordListTagger({"caption", "one", "another", "image"}), count=2)
    data = open_small(path, tmp_path, word_prompts=prompts, corruption=None)
    here, there = (list(data.batches(start_step=0, stop_step=5, num_workers=workers)) for workers in (0, 2))
    for first, second in zip(here, there, strict=True):
        assert same(first, second)
        assert first.word_prompts == second.word_prompts
        assert first.word_prompts is not None
        assert first.part(2, 4).word_prompts == first.word_prompts[2:4]
        for caption, sentences in zip(first.captions or (), first.word_prompts, strict=True):
            named = prompts.tagger.words(caption)
            assert len(sentences) == 2
            assert sentences.count(caption) == 2 - min(2, len(named))
            assert not named or any(word in sentences[0] for word in named)
    assert data.fingerprint() != open_small(path, tmp_path, corruption=None).fingerprint()
    other = WordPrompts(tagger=WordListTagger({"caption"}), count=2)
    assert data.fingerprint() != open_small(path, tmp_path, word_prompts=other, corruption=None).fingerprint()


def test_words_are_looked_for_before_the_caption_is_corrupted(tmp_path: Path) -> None:
    prompts = WordPrompts(tagger=WordListTagger({"caption"}), count=1)
    gone = WordCorruption(share=1.0, mask=1.0, replace=0.0, delete=0.0)
    data = open_small(write_folder(tmp_path / "folder"), tmp_path, word_prompts=prompts, corruption=gone)
    (batch,) = data.batches(start_step=0, stop_step=1)
    assert batch.word_prompts is not None
    assert all("caption" in sentence for (sentence,) in batch.word_prompts)
    assert all("caption" not in caption for caption in batch.captions or ())


def test_half_of_the_images_are_mirrored_and_nothing_else(tmp_path: Path) -> None:
    plain = {"crop": None, "auto_augment": False, "corruption": None}
    path = write_folder(tmp_path / "folder", count=6)
    (as_they_are,) = open_small(path, tmp_path, **plain).batches(start_step=0, stop_step=1)
    wanted = dict(zip(as_they_are.sources, as_they_are.images, strict=True))
    mirrored = 0
    for batch in open_small(path, tmp_path, flip=True, **plain).batches(start_step=0, stop_step=40):
        for source, image in zip(batch.sources, batch.images, strict=True):
            flipped = torch.equal(image, wanted[source].flip(2))
            assert flipped or torch.equal(image, wanted[source])
            mirrored += flipped
    assert mirrored / 240 == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "change", [{"rand_augment": RandAugment(chance=1.0)}, {"erasing": RandomErasing(chance=1.0)}]
)
def test_further_augmentation_is_drawn_anew_in_each_epoch(tmp_path: Path, change: dict[str, Any]) -> None:
    data = open_small(
        write_folder(tmp_path / "folder", count=6), tmp_path, crop=None, auto_augment=False, **change
    )
    first, second = data.batches(start_step=0, stop_step=2)
    at = second.sources.index(first.sources[0])
    assert not torch.equal(first.images[0], second.images[at])


def test_the_seed_changes_batches_and_fingerprint(path: Path, tmp_path: Path) -> None:
    first, second = open_small(path, tmp_path), open_small(path, tmp_path, seed=1)
    batches = [next(data.batches(start_step=0, stop_step=1)) for data in (first, second)]
    assert not same(*batches)
    assert first.fingerprint() != second.fingerprint()
    assert first.fingerprint() == open_small(path, tmp_path).fingerprint()


def broken_shards(folder: Path) -> Path:
    """Write 60 records, of which 8 are broken in 6 ways."""
    records = [good_members(number) for number in range(60)]
    records[3]["jpg"] = b"not an image"
    records[4]["jpg"] = image_bytes(4)[:200]
    records[5]["txt"] = b"caf\xe9"
    records[6]["txt"] = b"  \n"
    del records[7]["txt"]
    del records[8]["jpg"]
    records[9]["jpg"] = image_bytes(9, height=8, width=300)
    records[21]["jpg"] = b""
    write_shard(folder / "a.tar", records[:20])
    write_shard(folder / "b.tar", records[20:])
    return folder


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.filterwarnings("ignore:a record cannot be used")
def test_broken_records_are_listed_once_and_their_places_filled(tmp_path: Path, num_workers: int) -> None:
    data = open_small(broken_shards(tmp_path / "shards"), tmp_path, corruption=None)
    steps = {"start_step": 0, "stop_step": 20}
    batches = list(data.batches(**steps, num_workers=num_workers))
    assert all(len(batch) == 6 for batch in batches)
    used = {source.partition("#")[2] for batch in batches for source in batch.sources}
    assert used == {f"{number:05d}" for number in range(60)} - {
        f"{number:05d}" for number in (3, 4, 5, 6, 7, 8, 9, 21)
    }
    found = {(record.shard, record.key): record.reason.value for record in data.broken()}
    assert found == {
        ("a.tar", "00003"): "unreadable image",
        ("a.tar", "00004"): "unreadable image",
        ("a.tar", "00005"): "caption not UTF-8",
        ("a.tar", "00006"): "empty caption",
        ("a.tar", "00007"): "no caption",
        ("a.tar", "00008"): "no image",
        ("a.tar", "00009"): "image size",
        ("b.tar", "00021"): "unreadable image",
    }
    assert sum(data.describe()["broken"].values()) == 8
    lines = [
        line for file in (tmp_path / "invalid_log").glob("*.jsonl") for line in file.read_text().splitlines()
    ]
    again = open_small(tmp_path / "shards", tmp_path, corruption=None)  # as a resumed run does
    assert all(map(same, batches, again.batches(**steps)))
    assert lines == [
        line for file in (tmp_path / "invalid_log").glob("*.jsonl") for line in file.read_text().splitlines()
    ]


def test_the_first_broken_record_is_warned_of_with_the_place_of_the_list(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"a\.tar#00007 \(no caption\).*listed in .*invalid_log") as warned:
        list(open_small(broken_shards(tmp_path / "s"), tmp_path).batches(start_step=0, stop_step=7))
    assert len(warned) == 1, [str(one.message) for one in warned]


def rotten(folder: Path) -> Iterator[dict[str, Any]]:
    for number in range(200):
        record = good_members(number)
        if number % 2:
            record["jpg"] = b"rot"
        yield record


@pytest.mark.filterwarnings("ignore:a record cannot be used")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_much_rot_stops_training_with_counts(tmp_path: Path, num_workers: int) -> None:
    path = write_shard(tmp_path / "rotten.tar", rotten(tmp_path))
    data = open_small(path, tmp_path, max_invalid=0.3)
    with pytest.raises(DatasetError) as caught:
        list(data.batches(start_step=0, stop_step=40, num_workers=num_workers))
    error = caught.value
    assert "of 10" in error.found or "of 11" in error.found  # judged from 100 records on
    assert error.expected == "at most 30%"
    assert f"lexiseg captions check {path}" in error.fix


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:a record cannot be used")
def test_a_larger_share_of_rot_can_be_allowed(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "rotten.tar", rotten(tmp_path))
    data = open_small(path, tmp_path, max_invalid=0.9)
    assert len(list(data.batches(start_step=0, stop_step=40))) == 40


@pytest.mark.filterwarnings("ignore:a record cannot be used")
def test_rot_that_is_seen_on_opening_stops_there(tmp_path: Path) -> None:
    records = [good_members(number) for number in range(10)]
    for record in records[:4]:
        del record["txt"]
    path = write_shard(tmp_path / "a.tar", records)
    with pytest.raises(DatasetError, match=r"4 of 10 records broken; expected at most 20%"):
        open_small(path, tmp_path)


def write_captions(path: Path, captions: list[str]) -> Path:
    return write_shard(path, [good_members(n) | {"txt": text} for n, text in enumerate(captions)])


def sent_out(texts: tuple[str, ...]) -> None:
    if any("bad" in text for text in texts):
        raise RuntimeError("cannot be read")


@pytest.mark.filterwarnings("ignore:a record cannot be used")
@pytest.mark.parametrize("place", ["source", "decoder", "words", "tokenizer"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_whatever_is_raised_on_a_record_makes_it_an_invalid_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, num_workers: int
) -> None:
    path = write_captions(tmp_path / "a.tar", ["bad" if n == 3 else f"good {n}" for n in range(12)])
    more: dict[str, Any] = {}
    if place == "tokenizer":
        more["try_text"] = lambda text: sent_out((text,))
    elif place == "words":
        more["word_prompts"] = WordPrompts(tagger=BadTagger({"good"}), count=1)
    elif place == "source":
        text = caption_data.RawRecord
        monkeypatch.setattr(tar_source, "RawRecord", lambda *a: sent_out(a[3]) or text(*a))
    else:
        bad = image_bytes(3)
        decode = caption_data.decode_crop
        monkeypatch.setattr(
            caption_data, "decode_crop", lambda data, *a: 1 / 0 if data == bad else decode(data, *a)
        )
    data = open_small(path, tmp_path, corruption=None, **more)
    batches = list(data.batches(start_step=0, stop_step=4, num_workers=num_workers))
    assert all(len(batch) == 6 for batch in batches)
    assert "a.tar#00003" not in {source for batch in batches for source in batch.sources}
    (broken,) = data.broken()
    assert broken.reason.value in (
        "record that cannot be read",
        "unreadable image",
        "caption that cannot be read",
    )
    assert "RuntimeError: cannot be read" in broken.detail or "ZeroDivisionError" in broken.detail


class BadTagger(WordListTagger):
    def words(self, caption: str) -> list[str]:
        sent_out((caption,))
        return super().words(caption)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:a record cannot be used")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_share_is_judged_over_what_opening_and_reading_found_together(
    tmp_path: Path, num_workers: int
) -> None:
    """15 % without caption and 15 % of the others without image are each below 20 %."""
    records = []
    for number in range(200):
        record = good_members(number)
        if number % 20 < 3:
            del record["txt"]
        elif number % 20 < 6:
            record["jpg"] = b"rot"
        records.append(record)
    path = write_shard(tmp_path / "a.tar", records)
    data = open_small(path, tmp_path)
    with pytest.raises(DatasetError, match=r"of 1\d\d records broken that were read, and 30 of 200"):
        list(data.batches(start_step=0, stop_step=40, num_workers=num_workers))
    assert len(list(open_small(path, tmp_path, max_invalid=0.4).batches(start_step=0, stop_step=40))) == 40


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_warning_names_the_list_that_is_written(tmp_path: Path, num_workers: int) -> None:
    path = write_shard(
        tmp_path / "a.tar", [good_members(n) | ({"jpg": b"rot"} if n == 3 else {}) for n in range(30)]
    )
    data = open_captions(path, batch_size=6, size=16)
    data.list_broken_in(tmp_path / "run/broken")  # as training does, after the recipe has opened the data
    with pytest.warns(UserWarning, match="a record cannot be used") as warned:
        list(data.batches(start_step=0, stop_step=10, num_workers=num_workers))
    (text,) = [str(one.message) for one in warned]
    assert f"listed in {tmp_path / 'run/broken'}" in text
    assert len(list((tmp_path / "run/broken").glob("*.jsonl"))) >= 1
    assert not list(tmp_path.glob("**/broken-records"))
