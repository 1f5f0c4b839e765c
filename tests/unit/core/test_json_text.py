"""JSON that a program can trip over is refused where it is read, by every reader that has a file to read."""

import json
import os

import pytest

from lexiseg.core.errors import InputError, LexisegError, VocabularyError
from lexiseg.core.json_text import MAX_DEPTH, JsonError, RefusedJsonError, decode_json, read_json_file
from lexiseg.core.result_files import read_facts
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.decoding import CaptionError, parse_json
from lexiseg.data.published.label_encodings import read_context_json
from lexiseg.models.checkpoint import read_config
from lexiseg.runs.folder import read_recipe
from lexiseg.scoring.store.store import read_manifest

DEEP = "[" * 100_000
REFUSED = {
    "deep": DEEP,
    "deep and whole": "[" * 200 + "]" * 200,
    "deep objects": '{"a":' * 200 + "1" + "}" * 200,
    "twice": '{"a": 1, "a": 2}',
    "huge": f'{{"a": {10**41}}}',
    "digits": "9" * 10_000,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused(kind):
    with pytest.raises(RefusedJsonError):
        decode_json(REFUSED[kind])


def test_a_number_beyond_64_bits_is_a_float_as_tokenizers_of_the_hub_have_it():
    assert decode_json(f'{{"model_max_length": {int(1e30)}}}') == {"model_max_length": 1e30}
    assert decode_json(str(2**64 - 1)) == 2**64 - 1


@pytest.mark.parametrize("text", ["", "{", b"\xff", "[1,]", "nul"])
def test_what_is_no_json_is_an_error_of_its_own(text):
    with pytest.raises(JsonError) as error:
        decode_json(text)
    assert not isinstance(error.value, RefusedJsonError)


def test_the_rest_is_read():
    assert decode_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert decode_json(b'\xef\xbb\xbf{"a": [NaN, -9223372036854775808, 18446744073709551615]}')["a"][1] == -(
        2**63
    )


def test_files_have_a_size_and_are_files(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    assert read_json_file(tmp_path / "a.json") == [1, 2, 3]
    with pytest.raises(RefusedJsonError, match="9 bytes, more than the 8"):
        read_json_file(tmp_path / "a.json", max_bytes=8)
    with pytest.raises(RefusedJsonError, match="instead of a file"):
        read_json_file(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(RefusedJsonError, match="instead of a file"):
            read_json_file(tmp_path / "pipe")


@pytest.mark.parametrize("kind", ["deep", "deep and whole", "twice", "huge"])
def test_every_reader_refuses_it_in_its_own_words(tmp_path, kind):
    text = REFUSED[kind]
    for name in ("config.json", "recipe.json", "manifest.json", "classes.json", "a.json"):
        (tmp_path / name).write_text(text)
    for read in (
        lambda: read_config(tmp_path, ("clip",)),
        lambda: read_recipe(tmp_path),
        lambda: read_manifest(tmp_path),
        lambda: read_context_json(tmp_path / "a.json", "x"),
    ):
        with pytest.raises(LexisegError):
            read()
    with pytest.raises(VocabularyError):
        Vocabulary.from_file(tmp_path / "classes.json")
    with pytest.raises(CaptionError):
        parse_json(text.encode())
    assert read_facts(tmp_path / "a.json") is None


@pytest.mark.parametrize(
    "change",
    [
        {"size": None}, {"size": [3]}, {"size": [3.0, 2]}, {"size": [2**40, 2**40]}, {"size": [-1, -6]}, {"size": "33"},
        {"counts": None}, {"counts": [1, 2]}, {"counts": "o" * 100_000}, {"counts": "é"}, {"counts": b"\xff"},
    ],
    ids=str,
)  # fmt: skip
def test_run_lengths_of_others_are_refused_before_anything_is_allocated(change):
    from lexiseg.core.coco_rle import decode

    with pytest.raises(InputError):
        decode({"size": [3, 2], "counts": "06", **change})


@pytest.mark.parametrize(
    "image",
    [{"height": 2**30, "width": 2**30}, {"height": -1}, {"height": "3"}, {"height": 4}, {"file_name": None}],
    ids=str,
)
def test_a_context_file_of_wrong_values_is_one_error(tmp_path, image):
    whole = {"image_id": 1, "file_name": "a.jpg", "height": 3, "width": 2, **image}
    segment = {"image_id": 1, "category_id": 2, "segmentation": {"size": [3, 2], "counts": "06"}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [whole], "annos_segmentation": [segment]}))
    with pytest.raises(LexisegError):
        read_context_json(path, "a")
