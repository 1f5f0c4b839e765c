"""``lexiseg curate``: all stages by one command, each by itself, and the sheet."""

import numpy as np
import pytest
from PIL import Image

from curation_toys import ToyEncoder, contents, write_images, write_words
from lexiseg.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["curate", *(str(argument) for argument in arguments)])
    return int(stopped.value.code or 0)


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch):
    monkeypatch.setattr("lexiseg.runs.curate.LoadedPairEncoder", lambda name, device: ToyEncoder())
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / "data", 12)


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path / "words", ["dog", "car", "race car", "grass", "sky", "road", "a b c d e"])


def stage_by_stage(data, words, out):
    assert run("embed", data, "--out", out, "--shard-records", 5) == 0
    assert run("search", out, "--neighbours", 3) == 0
    assert run("rank", out, "--vocabulary", words) == 0
    assert run("cluster", out) == 0


def all_at_once(data, words, out, *more):
    return run(
        "all", data, "--out", out, "--shard-records", 5, "--neighbours", 3, "--vocabulary", words, *more
    )


def test_one_command_does_what_four_do(data, words, tmp_path, capsys):
    assert all_at_once(data, words, tmp_path / "a") == 0
    printed = capsys.readouterr()
    assert "12 images embedded" in printed.out
    assert "3 neighbours of each image (exact)" in printed.out
    assert "7 of 12 concepts occur in captions; 2 of 12 captions name none" in printed.out
    assert "classes of benchmarks that the vocabulary names: ade20k150 4/150" in printed.out
    assert "12 images curated" in printed.out
    assert "1 concepts of more than four words are never found, such as 'a b c d e'" in printed.err
    stage_by_stage(data, words, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert all_at_once(data, words, tmp_path / "a") == 0


def test_other_settings_want_another_folder_or_redo(data, words, tmp_path, capsys):
    out = tmp_path / "out"
    stage_by_stage(data, words, out)
    assert run("search", out, "--neighbours", 5) == 2
    assert "neighbours 3 (now 5)" in capsys.readouterr().err
    assert run("search", out, "--neighbours", 5, "--redo") == 0
    assert not (out / "curated").exists()
    assert run("cluster", out) == 2
    assert "lexiseg curate rank" in capsys.readouterr().err


def test_more_neighbours_than_images_are_noted(data, words, tmp_path, capsys):
    run("embed", data, "--out", tmp_path / "out")
    assert run("search", tmp_path / "out", "--neighbours", 50) == 0
    assert "note: the index has only 12 images for each, not 50" in capsys.readouterr().err


def test_invalid_records_are_counted(data, words, tmp_path, capsys):
    (data / "images/003.png").write_bytes(b"")
    assert run("embed", data, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "11 images embedded" in printed.out
    assert "1 records left out (images#003: unreadable" in printed.err


def test_no_path_is_refused(tmp_path, capsys):
    assert run("all", "--out", tmp_path / "out") == 2
    assert "no path" in capsys.readouterr().err


def test_the_sheet_says_what_the_caption_misses(data, words, tmp_path):
    all_at_once(data, words, tmp_path / "out")
    assert run("show", tmp_path / "out", "002", "--out", tmp_path / "sheet.html") == 0
    text = (tmp_path / "sheet.html").read_text()
    assert "“nothing to see”" in text
    assert text.count("<img") == 1 + 3
    assert "The caption does not name: " in text
    assert "<th>visible</th>" not in text


def test_with_label_maps_the_sheet_says_what_is_visible(data, words, tmp_path):
    (data / "labels").mkdir()
    (data / "classes.txt").write_text("car\ngrass\tlawn\nsky\n")
    for number in range(12):
        shape = Image.open(data / f"images/{number:03d}.png").size[::-1]
        Image.fromarray(np.full(shape, 1, np.uint8)).save(
            data / f"labels/{number:03d}.png"
        )  # grass everywhere
    run("all", data, "--out", tmp_path / "out", "--neighbours", 12, "--vocabulary", words)
    assert run("show", tmp_path / "out", "images#003", "--out", tmp_path / "sheet.html") == 0
    text = (tmp_path / "sheet.html").read_text()
    assert "Visible by the label map, and not in the caption: grass." in text
    row = text[text.index("<td>car</td>") :].split("</tr>")[0]
    assert row.endswith("<td>yes</td><td>no</td>")  # the caption says so, the label map does not
    assert 'class="missing"><td>grass</td>' in text


def test_an_unknown_image_is_refused(data, words, tmp_path, capsys):
    all_at_once(data, words, tmp_path / "out")
    assert run("show", tmp_path / "out", "cat") == 2
    assert "no image of that name" in capsys.readouterr().err
