import json
from dataclasses import replace

import numpy as np
import pytest

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.row_rle import decode_runs
from lexiseg.scoring.store.blocks import TopScores
from lexiseg.scoring.store.store import PredictionStore, StoreWriter
from written_stores import image_of, make_store, manifest_of

NAMES = ("background", "cat", "dog")
TOP = TopScores(np.array([[[1, 2]], [[0, 0]]], np.uint16), np.array([[[0.5, 1.5]], [[-2, 0]]], np.float16))
IMAGES = [
    image_of("plain", [[0, 1], [2, 65535]], [[0, 1], [1, 1]], TOP),
    image_of("ünlabelled", None, [[2, 2, 2]]),
    image_of("last", [[1] * 7], [[2] * 7]),
]


def damage(path, at, flip=0xFF):
    content = bytearray(path.read_bytes())
    content[at] ^= flip
    path.write_bytes(content)


def test_everything_written_comes_back(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    assert store.stems == ["plain", "ünlabelled", "last"]
    assert not store.missing
    for written, read in zip(IMAGES, store, strict=True):
        assert (read.stem, read.size) == (written.stem, written.size)
        assert np.array_equal(
            decode_runs(read.predicted, read.size), decode_runs(written.predicted, written.size)
        )
        assert (read.true is None) == (written.true is None)
        assert (read.top is None) == (written.top is None)
    assert np.array_equal(decode_runs(store["plain"].true, (2, 2)), [[0, 1], [2, 65535]])
    assert np.array_equal(store["plain"].top.labels, TOP.labels)
    assert np.array_equal(store["plain"].top.scores, TOP.scores)
    assert store.manifest == manifest_of(NAMES, [image.stem for image in IMAGES])


def test_a_shard_cut_anywhere_keeps_its_whole_blocks_and_is_mended_by_going_on(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    path, whole = store.where("plain"), store.where("plain").read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        cut = PredictionStore(tmp_path / "s")
        assert cut.stems == store.stems[: len(cut)]
        assert bool(cut.damage) == (
            length not in {0} | {p.offset for s in store._shards.values() for p in s.places}
        )
        with StoreWriter(tmp_path / "s", store.manifest) as writer:
            assert writer.done == set(cut.stems)
            for image in IMAGES:
                if image.stem not in writer.done:
                    writer.append(image)
        assert path.read_bytes() == whole


def test_half_a_block_is_named_with_its_file(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    path = store.where("last")
    path.write_bytes(path.read_bytes()[:-3])
    (found,) = PredictionStore(tmp_path / "s").damage
    assert found.shard == path
    assert found.found == "half a block at its end"


def test_a_changed_byte_is_found_when_read_and_that_image_alone_is_done_again(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    damage(store.where("plain"), 60)
    broken = PredictionStore(tmp_path / "s")
    with pytest.raises(
        DatasetError, match=r"prediction of 'plain' in .*shard-000.runs: found bytes that are not"
    ):
        broken["plain"]
    assert broken["last"].stem == "last"
    with StoreWriter(tmp_path / "s", store.manifest) as writer:
        assert writer.done == {"ünlabelled", "last"}
        writer.append(IMAGES[0])
    mended = PredictionStore(tmp_path / "s")
    assert np.array_equal(decode_runs(mended["plain"].predicted, (2, 2)), [[0, 1], [1, 1]])


def test_a_damaged_head_ends_the_shard_there(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    damage(store.where("last"), store._places["ünlabelled"].offset + 9)
    cut = PredictionStore(tmp_path / "s")
    assert cut.stems == ["plain"]
    assert "no block at offset" in cut.damage[0].found


def test_padding_of_distributed_runs_counts_once_and_is_told(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    with StoreWriter(tmp_path / "s", store.manifest, shard=1) as writer:
        writer.append(IMAGES[2])
    padded = PredictionStore(tmp_path / "s")
    assert padded.duplicates == ["last"]
    assert len(padded) == 3


def test_two_different_predictions_of_one_image_are_refused_with_their_files(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    with StoreWriter(tmp_path / "s", store.manifest, shard=1) as writer:
        writer.append(image_of("last", [[1] * 7], [[0] * 7]))
    with pytest.raises(DatasetError, match=r"2 different predictions of 'last' in .*000.runs, .*001.runs"):
        PredictionStore(tmp_path / "s")


def test_a_prediction_of_a_foreign_image_is_refused(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    with StoreWriter(tmp_path / "s", store.manifest) as writer:
        writer.append(image_of("stranger", None, [[0]]))
    with pytest.raises(DatasetError, match="prediction of 'stranger', which is no image of the data set"):
        PredictionStore(tmp_path / "s")


def test_going_on_with_other_settings_classes_or_data_is_refused(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    manifest = store.manifest
    for other, message in (
        (
            replace(manifest, settings={"model": "else", "background": "none"}),
            "model = 'hand' instead of 'else'",
        ),
        (replace(manifest, vocabulary=("background", "cat", "cow")), "another vocabulary"),
        (replace(manifest, data_fingerprint="1"), "another data fingerprint"),
    ):
        with pytest.raises(InputError, match=f"{message}.*Choose another folder with --out"):
            StoreWriter(tmp_path / "s", other)
    StoreWriter(tmp_path / "s", replace(manifest, data="moved/elsewhere")).close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "a damaged file"),
        ("[]", "a damaged file"),
        ('{"format": 99}', "format 99"),
        (json.dumps({"format": 1, "synonyms": []}), "a damaged file"),
    ],
)
def test_a_folder_that_is_no_store_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(
        DatasetError, match=rf"manifest.json: found {message}.*Name the folder given to lexiseg predict"
    ):
        PredictionStore(tmp_path)


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_a_changed_byte_in_a_name_loses_that_image_alone_and_is_mended_by_going_on(tmp_path, flip):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    path, place = store.where("last"), store._places["last"]
    damage(path, path.read_bytes().index(b"last", place.offset), flip)
    broken = PredictionStore(tmp_path / "s")
    assert broken.missing == ["last"]
    assert [found.found for found in broken.damage] == [f"a damaged block at offset {place.offset:,}"]
    with pytest.raises(DatasetError, match=r"1 of 3 images missing .last.; .*000.runs has a damaged block"):
        broken.refuse_missing("scoring", partial=False)
    with StoreWriter(tmp_path / "s", store.manifest) as writer:
        assert writer.done >= {"plain", "ünlabelled"}
        assert "last" not in writer.done
        writer.append(IMAGES[2])
    assert not PredictionStore(tmp_path / "s").missing


def test_predictions_whose_manifest_is_gone_say_what_to_do(tmp_path):
    store = make_store(tmp_path / "s", NAMES, IMAGES)
    (tmp_path / "s/manifest.json").unlink()
    for attempt in (
        lambda: PredictionStore(tmp_path / "s"),
        lambda: StoreWriter(tmp_path / "s", store.manifest),
    ):
        with pytest.raises(DatasetError, match=r"(?s)manifest\.json.*Bring manifest\.json back, or .* --out"):
            attempt()
