"""JSON, Parquet, class lists and checkpoints' settings that were damaged or are hostile."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from caption_files import image_bytes, write_parquet, write_shard
from lexiseg.core.errors import DatasetError
from lexiseg.core.json_text import JsonError, decode_json
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.check import check_captions
from lexiseg.data.captions.decoding import CaptionError, parse_json, parse_text
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.captions.records import InvalidRecord, RawRecord
from lexiseg.data.published.label_encodings import read_context_json
from lexiseg.engine.settings import RunSettings
from lexiseg.models.bert import WordPieceTokenizer
from lexiseg.models.checkpoint import read_config
from lexiseg.models.minilm import TOKENIZER
from lexiseg.recipes.simseg import paper
from mutations import fuzz, mutated_json

pytestmark = pytest.mark.usefixtures("without_type_checker")


def refused(error: Exception) -> DatasetError:
    """Return an error of a room's own as what its caller makes of it."""
    return DatasetError(doing="reading", found=repr(error), expected="whole data", fix="None.")


def test_json():
    def read(data: bytes) -> None:
        try:
            json.dumps(decode_json(data))
        except JsonError as error:
            raise refused(error) from error

    seeds = [json.dumps({"a": [1, 2.5, None, {"b": "é"}], "c": True}).encode(), b"[" * 500, b'{"a":' * 500]
    assert fuzz("json", seeds, read, examples=200)


def test_captions():
    def read(data: bytes) -> None:
        for parse in (parse_json, parse_text):
            try:
                assert all(isinstance(text, str) for text in parse(data))
            except CaptionError as error:
                refusal = refused(error)
            else:
                continue
            if parse is parse_text:
                raise refusal

    assert fuzz("captions", [b'{"caption": ["a cat", "two"]}', "zwölf Hunde".encode()], read, examples=200)


HALF_A_PAIR = json.dumps({"caption": "a \ud83d cat"}).encode()
NESTED = b'{"caption": ' + b"[" * 5000 + b"]" * 5000 + b"}"


def test_captions_that_are_read_can_be_tokenised(tmp_path):
    """With the tokenizer in the loop: what ``captions check`` lets pass must not stop training."""
    tokenizer = WordPieceTokenizer(TOKENIZER.verified_path())

    def read(data: bytes) -> None:
        try:
            texts = parse_json(data)
        except CaptionError as error:
            raise refused(error) from error
        for text in texts:
            assert tokenizer.ids([text], 25)
            text.encode()

    seeds = [b'{"caption": ["a \\ud83d\\ude00 cat", "two\\u0000"]}', HALF_A_PAIR, NESTED]
    assert fuzz("caption-tokens", seeds, read, examples=150)


@pytest.mark.parametrize("content", [HALF_A_PAIR, NESTED, b'{"caption": "\\udc00"}', b'{"caption": 1e999}'])
def test_no_caption_stops_a_run_that_checks_let_pass(tmp_path, content):
    records = [
        {"__key__": f"{n}", "jpg": image_bytes(n), "json": content if n == 3 else b'{"caption": "a"}'}
        for n in range(12)
    ]
    source = open_caption_source(write_shard(tmp_path / "a.tar", records), cache=None)
    assert [record.key for record in check_captions(source, workers=1).broken] == ["3"]
    recipe = replace(paper(), captions=tmp_path / "a.tar", run=RunSettings(num_steps=4, batch_size=6))
    data = recipe.build_data()
    data.list_broken_in(tmp_path / "broken")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = list(data.batches(start_step=0, stop_step=4))
    assert all(len(recipe.build_tokenizer().ids(batch.captions, 25)) == 6 for batch in batches)
    assert [record.key for record in data.broken()] == ["3"]


def test_class_lists(tmp_path):
    path = tmp_path / "classes.txt"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        assert len(Vocabulary.from_file(path))

    seeds = [
        b"cat\tkitten, kitty\nsofa\n",
        b'{"0": "cat", "1": "sofa"}',
        b"id,name\n0,cat\n1,sofa\n",
        b'["cat"]',
    ]
    assert fuzz("class_lists", seeds, read, examples=200)


def test_context_json(tmp_path):
    whole = {
        "images": [{"image_id": 1, "file_name": "a.jpg", "height": 3, "width": 2}],
        "annos_segmentation": [
            {"image_id": 1, "category_id": 2, "segmentation": {"size": [3, 2], "counts": "06"}},
        ],
    }
    path = tmp_path / "a.json"

    def read(content: Any) -> None:
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(content))
        assert read_context_json(path, "a").shape

    assert fuzz("context_json", [whole], read, examples=150, mutate=mutated_json)


def test_settings_of_checkpoints(tmp_path):
    whole = {
        "model_type": "clip",
        "text_config": {"num_hidden_layers": 2, "hidden_size": 8},
        "depths": [1, 2],
    }

    def read(content: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(content))
        assert read_config(tmp_path, ("clip",))["model_type"] == "clip"

    assert fuzz("config", [whole], read, examples=150, mutate=mutated_json)


def test_parquet(tmp_path: Path):
    pytest.importorskip("pyarrow")
    columns = {
        "image": [image_bytes(number) for number in range(4)],
        "caption": ["one", "two", "three", "four"],
    }
    seed = write_parquet(tmp_path / "seed.parquet", columns, row_group_size=2).read_bytes()
    path = tmp_path / "data/a.parquet"

    def read(data: bytes) -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        path.write_bytes(data)
        source = open_caption_source(path)
        for index in range(min(4, len(source))):
            assert isinstance(source.read(index), RawRecord | InvalidRecord)
        if source.invalid:
            raise refused(ValueError(source.invalid[0].detail))

    assert fuzz("parquet", [seed], read, examples=80)
