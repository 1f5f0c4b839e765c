"""Files that Lexiseg wrote and something else damaged: what comes out is what was written, or an error of ours."""

import json
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import normalize

from lexiseg.cli.result_folder import _differing
from lexiseg.core.coco_rle import area, decode, encode
from lexiseg.core.result_files import read_facts
from lexiseg.core.row_rle import LabelRuns, decode_runs
from lexiseg.data.captions import tar_index
from lexiseg.data.captions.invalid_records import read_invalid_records
from lexiseg.data.captions.packed_keys import PackedKeys
from lexiseg.data.curation.shard_files import map_arrays, write_arrays
from lexiseg.data.published.label_encodings import read_context_json
from lexiseg.engine.checkpoint import read_checkpoint, read_tensors, write_checkpoint
from lexiseg.engine.log import RunLog, read_log
from lexiseg.inference import text_embeddings
from lexiseg.inference.feature_cache import _read as read_features
from lexiseg.methods.rim.references.bank import ClassReferences, ReferenceBank, save_bank
from lexiseg.ops.prompts import find_prompt_set
from lexiseg.scoring.store.blocks import _HEAD, TopScores, pack_block
from lexiseg.scoring.store.store import PredictionStore
from mutations import fuzz, mutated_json
from written_stores import image_of, make_store

pytestmark = pytest.mark.usefixtures("without_type_checker")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Banks


def saved_bank(path: Path) -> Path:
    torch.manual_seed(0)
    classes = []
    for name in ("cat", "grass"):
        features = normalize(torch.randn(3, 6), dim=1).half().float()
        classes.append(
            ClassReferences(
                name=name,
                key=f"key of {name}",
                features=features,
                clusters=torch.tensor([0, 1, 1]),
                references=normalize(torch.randn(2, 6), dim=1),
                negatives=features[:1],
                thumbnails=(b"one", b"two", b"three"),
                origins=("a", "b", "c"),
                facts={"source": "folder", "drawn": 3, "rejected": {}},
                synonyms=("further",) if name == "cat" else (),
            )
        )
    save_bank(path, classes, encoder={"name": "e", "fingerprint": "f", "short_side": 64})
    return path


def read_bank(path: Path) -> tuple[Any, ...]:
    bank = ReferenceBank(path)
    parts = [bank.read_class(name) for name in bank.names]
    thumbnails = [bank.thumbnail(row) for row in range(len(bank.origins))]
    assert bank.profiles.isfinite().all()
    assert all(bank.reference_rows(label) for label in range(len(bank)))
    bank.nearness_quantile(0.5)
    return bank.names, [part.references.tolist() for part in parts], bank.rejected, thumbnails


def test_banks(tmp_path):
    path = saved_bank(tmp_path / "x.bank")
    whole, right = path.read_bytes(), read_bank(path)[1]

    def read(content: bytes) -> None:
        path.write_bytes(content)
        assert read_bank(path)[1] == right, "other references than were written"

    assert fuzz("bank", [whole], read, examples=150) > 50


@pytest.mark.parametrize("hashed", [True, False])
def test_manifests_of_banks(tmp_path, hashed):
    path = saved_bank(tmp_path / "x.bank")
    with safe_open(path, framework="pt") as opened:
        manifest = json.loads(opened.metadata()["manifest"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if not hashed:
        del manifest["sha256"]  # as earlier versions wrote them

    def read(changed: Any) -> None:
        text = json.dumps(changed).encode("utf-8", "replace").decode()
        save_file(tensors, path, metadata={"manifest": text})
        read_bank(path)

    assert fuzz("bank-manifest", [manifest], read, examples=150, mutate=mutated_json) > 50


# Runs


def test_logs(tmp_path):
    made = RunLog(tmp_path, 0)
    for step in range(1, 6):
        made.evaluation(step, {"score": 0.5})
    made.close()
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()

    def read(content: bytes) -> None:
        log.write_bytes(content)
        read_log(tmp_path)

    def go_on(content: bytes) -> None:
        log.write_bytes(content)
        RunLog(tmp_path, 3).close()
        assert all(line["step"] <= 3 for line in read_log(tmp_path))

    fuzz("log", [whole], read, examples=200)
    fuzz("log", [whole], go_on, examples=15)


def test_checkpoints(tmp_path):
    tensors = {"model": {"w": torch.randn(4, 4)}, "optimizer": {"w|step": torch.ones(1)}}
    write_checkpoint(tmp_path, 7, tensors, {"scaler": {}}, keep=1)
    weights, state = (
        tmp_path / "checkpoints/step-000007" / name for name in ("model.safetensors", "state.json")
    )
    whole = weights.read_bytes()

    def read(content: bytes) -> None:
        weights.write_bytes(content)
        found, _ = read_checkpoint(tmp_path, 7)
        assert torch.equal(found["model"]["w"], tensors["model"]["w"]), "other weights than were written"
        read_tensors(weights)

    assert fuzz("weights", [whole], read, examples=200) > 100
    weights.write_bytes(whole)

    def read_state(content: Any) -> None:
        state.write_text(json.dumps(content))
        read_checkpoint(tmp_path, 7)

    fuzz("state", [json.loads(state.read_text())], read_state, examples=200, mutate=mutated_json)


# Stores

TOP = TopScores(np.array([[[1, 2]], [[0, 0]]], np.uint16), np.array([[[0.5, 1.5]], [[-2, 0]]], np.float16))
IMAGES = [
    image_of("plain", [[0, 1], [2, 65535]], [[0, 1], [1, 1]], TOP),
    image_of("ünlabelled", None, [[2, 2, 2]]),
]


def read_store(folder: Path) -> dict[str, list[Any]]:
    store = PredictionStore(folder)
    return {image.stem: decode_runs(image.predicted, image.size).tolist() for image in store}


def test_stores(tmp_path):
    store = make_store(tmp_path / "s", ("background", "cat", "dog"), IMAGES)
    right, shard = read_store(tmp_path / "s"), store.where("plain")

    def read(content: bytes) -> None:
        shard.write_bytes(content)
        found = read_store(tmp_path / "s")
        assert all(found[stem] == right[stem] for stem in found), "other label maps than were written"

    fuzz("shard", [shard.read_bytes()], read, examples=200)


def test_blocks_that_lie_with_right_checksums(tmp_path):
    store = make_store(tmp_path / "s", ("background", "cat", "dog"), IMAGES[:1])
    shard = store.where("plain")

    def sealed(block: bytes) -> bytes:
        body = block[_HEAD.size :]
        values = list(_HEAD.unpack(block[: _HEAD.size].ljust(_HEAD.size, b"\0")))
        values[1], values[-2] = len(body), zlib.crc32(body)
        head = _HEAD.pack(*values[:-1], 0)
        return _HEAD.pack(*values[:-1], zlib.crc32(head)) + body

    def read(content: bytes) -> None:
        shard.write_bytes(sealed(content))
        for image in PredictionStore(tmp_path / "s"):
            label_map = decode_runs(image.predicted, image.size)
            assert set(np.unique(label_map).tolist()) <= {0, 1, 2, 65535}

    fuzz("block", [pack_block(IMAGES[0])], read, examples=200)


def test_manifests_of_stores(tmp_path):
    make_store(tmp_path / "s", ("background", "cat", "dog"), IMAGES)
    path = tmp_path / "s/manifest.json"

    def read(content: Any) -> None:
        path.write_text(json.dumps(content))
        store = PredictionStore(tmp_path / "s")
        list(store)
        store.manifest.to_vocabulary()
        store.manifest.data_vocabulary()

    assert (
        fuzz("store-manifest", [json.loads(path.read_text())], read, examples=250, mutate=mutated_json) > 50
    )


# Run lengths


def test_run_lengths():
    mask = np.random.default_rng(0).random((9, 7)) > 0.5
    whole = encode(mask)

    def read(content: Any) -> None:
        area(content)
        decode(content)

    assert fuzz("rle", [dict(whole)], read, examples=300, mutate=mutated_json) > 100
    huge = [{"size": [2**31, 2**31], "counts": whole["counts"]}, {"size": [9, 7], "counts": "o" * 4000}]

    def read_text(content: bytes) -> None:
        read({"size": [9, 7], "counts": content})

    fuzz("rle-text", [whole["counts"].encode()], read_text, examples=200)
    for content in huge:
        with pytest.raises(ValueError, match="reading run lengths"):
            decode(content)


def test_runs_that_say_terabytes_are_refused_before_memory_is_taken():
    lengths = np.full(20_000, 65535, np.uint16)
    size = (20_000, 65_535)  # what they add up to
    with pytest.raises(ValueError, match="runs that add up"):
        decode_runs(LabelRuns(np.zeros(20_000, np.uint16), lengths), size)


def test_context_json(tmp_path):
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:4] = True
    content = {
        "images": [{"file_name": "a.jpg", "image_id": 1, "height": 4, "width": 6}],
        "annos_segmentation": [{"image_id": 1, "category_id": 2, "segmentation": dict(encode(mask))}],
    }
    path = tmp_path / "trainval_merged.json"

    def read(changed: Any) -> None:
        path.write_text(json.dumps(changed))
        from lexiseg.data.published import label_encodings

        label_encodings._load.cache_clear()
        read_context_json(path, "a")

    assert fuzz("context-json", [content], read, examples=250, mutate=mutated_json) > 50


# Caches: what is damaged is made again, without a word or with a warning, and never believed


class Letters(torch.nn.Module):
    fingerprint = "letters"
    num_calls = 0

    def unknown_share(self, names: Any) -> list[float]:
        return [0.0] * len(names)

    def forward(self, texts: Any) -> torch.Tensor:
        return torch.tensor([[float(len(text)), float(ord(text[0])), 1.0] for text in texts])


def test_the_cache_of_words(tmp_path):
    encoder, names = Letters(), [f"{chr(97 + number % 26)} name {number}" for number in range(60)]
    right = text_embeddings.embed_names(encoder, names, "bare", cache=tmp_path)
    path = text_embeddings._store_path(tmp_path, encoder.fingerprint, find_prompt_set("bare"))
    assert path is not None
    whole = path.read_bytes()
    assert path.parent.stat().st_mode & 0o077 == 0, "words say what somebody works on"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = text_embeddings.embed_names(encoder, names, "bare", cache=tmp_path)
        assert torch.equal(found, right), "another word's embedding"

    assert fuzz("words", [whole], read, examples=60) == 0


def test_the_index_of_a_tar_file(tmp_path):
    invalid = (tar_index.InvalidRecord("", "x", tar_index.InvalidReason.NO_IMAGE, "why"),)
    index = tar_index.TarIndex(
        np.arange(12).reshape(3, 4),
        np.zeros(3, np.uint8),
        PackedKeys.of(("a", "b", "c")),
        invalid,
        {".txt": 2},
        np.arange(4).reshape(2, 2),
        PackedKeys.of(("a.jpg", "d.jpg")),
    )
    path = tmp_path / "index.npz"
    with path.open("wb") as target:
        tar_index._save(index, target)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = tar_index._load(path)
        if found is not None:
            assert np.array_equal(found.places, index.places)
            assert np.array_equal(found.images, index.images)
            assert found.image_names == index.image_names
            assert (found.keys, found.invalid, found.passed_over) == (index.keys, invalid, {".txt": 2})

    fuzz("tar-index", [path.read_bytes()], read, examples=150)


def test_the_cache_of_features(tmp_path):
    from lexiseg.core.tensor_digest import tensor_digest

    row = {"patches": torch.randn(3, 3, 4).half()}
    path = tmp_path / "x.safetensors"
    save_file(row, path, metadata={"sha256": tensor_digest(row)})
    assert read_features(path) is not None

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = read_features(path)
        assert found is None or torch.equal(found["patches"], row["patches"])

    assert fuzz("features", [path.read_bytes()], read, examples=150) == 0


# What goes with results


def test_facts_and_requests_and_records(tmp_path):
    facts = {
        "source": "a",
        "size": {"height": 1},
        "classes": [],
        "vocabulary": ["x"],
        "settings": {"model": "m"},
    }
    path = tmp_path / "x.json"
    request = tmp_path / ".lexiseg-request"
    records = tmp_path / "r.jsonl"

    def read(content: Any) -> None:
        text = json.dumps(content)
        for file in (path, request, records):
            file.write_text(text)
        read_facts(path)
        _differing(tmp_path, facts, ["x"])
        read_invalid_records(tmp_path)

    record = {"shard": "s", "key": "k", "reason": "no image", "detail": "d"}
    fuzz("facts", [facts, record], read, examples=150, mutate=mutated_json)
    for text in ("[" * 100_000, '{"a":' * 100_000):
        for file in (path, request, records):
            file.write_text(text)
        assert read_facts(path) is None
        assert _differing(tmp_path, facts, ["y"]) == []
        assert read_invalid_records(tmp_path) == []


def test_shards_of_a_curation(tmp_path):
    path = tmp_path / "00000.safetensors"
    write_arrays(path, {"a": np.arange(6, dtype=np.int32)}, {"of": "x"})

    def read(content: bytes) -> None:
        path.write_bytes(content)
        arrays, _ = map_arrays(path, stage="embed")
        for array in arrays.values():
            np.asarray(array).sum()

    fuzz("curation-shard", [path.read_bytes()], read, examples=250)
