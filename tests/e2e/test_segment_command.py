"""``lexiseg segment`` as people use it: streams, resumes, never lets one bad file end the run."""

import errno
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli import main
from lexiseg.cli.result_folder import REQUEST_FILE
from lexiseg.core.errors import ImageError
from lexiseg.runs.bulk.states import STATES_FILE
from lexiseg.runs.load import MODELS
from toy_segmenter import ColourSegmenter, registered

COLOURS = {"a": (255, 0, 0), "b": (0, 255, 0), "c": (0, 0, 255), "d": (255, 255, 255)}
WORDS = "red, green, blue, white"


@pytest.fixture
def model(monkeypatch) -> ColourSegmenter:
    segmenter = ColourSegmenter()
    monkeypatch.setitem(MODELS, "colours", registered(lambda: segmenter))
    return segmenter


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for stem, colour in COLOURS.items():
        place = folder / "deep" if stem == "d" else folder
        Image.new("RGB", (20, 12), colour).save(place / f"{stem}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


def segment(*arguments: object, out: Path, words: str | None = WORDS) -> int:
    with_words = ["--words", words] if words is not None else []
    with pytest.raises(SystemExit) as stopped:
        main(["segment", *map(str, arguments), *with_words, "--model", "colours", "--out", str(out)])
    return int(stopped.value.code or 0)


def written(out: Path) -> list[str]:
    files = [
        path for path in out.rglob("*") if path.is_file() and path.name not in (REQUEST_FILE, STATES_FILE)
    ]
    return sorted(path.relative_to(out).as_posix() for path in files)


def three(*stems: str) -> list[str]:
    return sorted(f"{stem}{end}" for stem in stems for end in (".json", ".labels.png", ".overlay.png"))


def test_folder_is_searched_with_its_subfolders(model, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert segment(photos, out=out) == 0
    assert written(out) == three("a", "b", "c", "deep/d")
    labels = np.asarray(Image.open(out / "deep/d.labels.png"))
    assert labels.dtype == np.uint16
    assert (labels == 3).all()
    printed = capsys.readouterr().out
    assert "100.0%" in printed
    assert "4 segmented, 0 failed" in printed


def test_globs_files_and_repeats_are_one_image_each(model, photos, tmp_path):
    out = tmp_path / "out"
    assert segment(photos / "[ab].png", photos / "a.png", out=out) == 0
    assert written(out) == three("a", "b")


def test_same_name_in_two_folders_keeps_both_results(model, photos, tmp_path):
    other = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "white").save(other)
    out = tmp_path / "out"
    assert segment(photos / "a.png", other, out=out) == 0
    assert written(out) == three("photos/a", f"{tmp_path.name}/a")


def test_another_image_of_the_same_name_is_not_already_there(model, photos, tmp_path, capsys):
    other = tmp_path / "other" / "a.png"
    other.parent.mkdir()
    Image.new("RGB", (8, 8), "white").save(other)
    os.utime(other, (1e9, 1e9))  # older than the results of the first
    out = tmp_path / "out"
    segment(photos / "a.png", out=out)
    segment(other, out=out)
    assert "1 segmented, 0 failed" in capsys.readouterr().out.splitlines()[-1]
    assert (np.asarray(Image.open(out / "a.labels.png")) == 3).all()
    assert json.loads((out / "a.json").read_text())["image"]["path"] == str(other.resolve())


def test_image_that_changes_while_it_is_segmented_is_segmented_again(model, photos, tmp_path, monkeypatch):
    out, image = tmp_path / "out", photos / "a.png"
    honest = ColourSegmenter.encode_images

    def changing(self, images):
        Image.new("RGB", (20, 12), "white").save(image)
        os.utime(image, (2e9, 2e9))
        return honest(self, images)

    monkeypatch.setattr(ColourSegmenter, "encode_images", changing)
    segment(image, out=out)
    monkeypatch.setattr(ColourSegmenter, "encode_images", honest)
    segment(image, out=out)
    assert (np.asarray(Image.open(out / "a.labels.png")) == 3).all()


def test_second_run_does_nothing_and_a_lost_file_is_made_again(model, photos, tmp_path, capsys):
    out = tmp_path / "out"
    segment(photos, out=out)
    calls = len(model.encoded_batches)
    assert segment(photos, out=out) == 0
    assert len(model.encoded_batches) == calls
    assert "0 segmented, 4 already there, 0 failed" in capsys.readouterr().out
    (out / "b.overlay.png").unlink()
    segment(photos, out=out)
    assert len(model.encoded_batches) == calls + 1
    assert written(out) == three("a", "b", "c", "deep/d")


@pytest.mark.parametrize("change", ["words", "setting", "image", "overwrite", "damaged", "labels"])
def test_results_of_another_request_are_made_again_where_that_is_asked(model, photos, tmp_path, change):
    out = tmp_path / "out"
    image = photos / "a.png"
    segment(image, out=out)
    calls = len(model.encoded_batches)
    more: list[object] = []
    if change == "image":
        later = (out / "a.json").stat().st_mtime + 5
        os.utime(image, (later, later))
    if change == "damaged":
        (out / "a.json").write_text('{"half":')
    if change == "labels":  # of another run, say
        Image.fromarray(np.ones((12, 20), np.uint16)).save(out / "a.labels.png")
    if change == "setting":
        more = ["--short-side", 16]
    if change in ("overwrite", "words", "setting"):
        more += ["--overwrite"]
    segment(image, *more, out=out, words="red, green" if change == "words" else WORDS)
    assert len(model.encoded_batches) == calls + 1
    json.loads((out / "a.json").read_text())


@pytest.mark.parametrize(
    ("words", "more", "differs"),
    [
        ("red, green", [], "vocabulary = red, green, blue, white instead of red, green"),
        (WORDS, ["--short-side", "16"], "short_side = 32 instead of 16"),
        (WORDS, ["--refine", "guided"], 'refine = "none" instead of "guided"'),
        ("red, green", ["--short-side", "16"], "red, green; short_side = 32 instead of 16"),
    ],
)
@pytest.mark.parametrize("is_marked", [True, False], ids=["with its file", "of an earlier version"])
def test_other_words_or_settings_are_refused_with_what_differs(
    model, photos, tmp_path, capsys, words, more, differs, is_marked
):
    out = tmp_path / "out"
    segment(photos, out=out)
    if not is_marked:
        (out / REQUEST_FILE).unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    images = [photos, photos / "new.png"] if is_marked else [photos]
    assert segment(*images, *more, out=out, words=words) == 2
    message = capsys.readouterr().err
    assert differs in message
    assert "--overwrite" in message
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_run_that_wrote_nothing_does_not_keep_the_folder(model, photos, tmp_path):
    out = tmp_path / "out"
    assert segment(photos / "missing.png", out=out) == 1
    assert segment(photos / "a.png", out=out, words="red, green") == 0


def test_a_folder_taken_over_in_part_says_how_much_is_of_other_words(model, photos, tmp_path, capsys):
    out = tmp_path / "out"
    segment(photos, out=out)
    assert segment(photos / "a.png", "--overwrite", out=out, words="red, green") == 0
    assert "note: 3 results of other words or settings are still there" in capsys.readouterr().out
    assert segment(photos, out=out, words="red, green") == 0  # goes on with the rest
    assert "3 segmented, 1 already there" in capsys.readouterr().out
    assert segment(photos, out=out) == 2


def test_a_run_that_writes_there_keeps_other_words_out_and_lets_the_same_in(
    model, photos, tmp_path, monkeypatch, capsys
):
    out, honest, codes = tmp_path / "out", ColourSegmenter.encode_images, []

    def meanwhile(self, images):
        if not codes:
            codes.append(0)
            codes.append(segment(photos / "b.png", "--overwrite", out=out, words="blue, black"))
            codes.append(segment(photos / "b.png", out=out))
        return honest(self, images)

    monkeypatch.setattr(ColourSegmenter, "encode_images", meanwhile)
    assert segment(photos, out=out) == 0
    assert codes == [0, 2, 0]
    assert "another run that writes there now" in capsys.readouterr().err
    assert written(out) == three("a", "b", "c", "deep/d")
    assert {json.loads(path.read_text())["vocabulary"][0] for path in out.rglob("*.json")} == {"red"}


def test_results_inside_the_searched_folder_are_not_segmented(model, photos):
    out = photos / "out"
    assert segment(photos, out=out) == 0
    assert segment(photos, out=out) == 0
    assert written(out) == three("a", "b", "c", "deep/d")


def test_bad_files_are_listed_at_the_end_and_in_the_exit_code(model, photos, tmp_path, capsys):
    (photos / "b.png").write_bytes(b"\x89PNG broken")
    (photos / "empty.jpg").touch()
    out = tmp_path / "out"
    assert segment(photos, photos / "missing.jpg", out=out) == 1
    assert written(out) == three("a", "c", "deep/d")
    printed, failed = capsys.readouterr()
    assert "3 segmented, 3 failed" in printed
    assert "b.png" in failed
    assert "an empty file (0 bytes)" in failed
    assert "no file there" in failed


def test_no_name_of_a_image_ends_the_run(model, photos, tmp_path, capsys):
    image = (photos / "a.png").read_bytes()
    (photos / os.fsdecode(b"caf\xe9.png")).write_bytes(image)  # bytes that are no UTF-8
    (photos / ("x" * 248 + ".png")).write_bytes(image)
    os.symlink("round.png", photos / "round.png")
    out = tmp_path / "out"
    impossible = "y" * 300
    assert segment(photos, impossible, out=out) == 1
    printed, failed = capsys.readouterr()
    assert "6 segmented, 2 failed" in printed
    assert f"{impossible}: no file there" in failed
    assert "round.png: no file there" in failed
    facts = json.loads((out / os.fsdecode(b"caf\xe9.json")).read_text(encoding="utf-8"))
    assert os.fsencode(facts["source"]).endswith(b"caf\xe9.png")
    assert segment(photos, out=out) == 1
    assert "0 segmented, 6 already there, 1 failed" in capsys.readouterr().out


def test_name_that_the_results_folder_cannot_hold_is_one_failure(
    model, photos, tmp_path, monkeypatch, capsys
):
    replace = os.replace

    def failing(source, target):
        if "b.labels" in str(target):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    assert segment(photos, out=tmp_path / "out") == 1
    printed, failed = capsys.readouterr()
    assert "3 segmented, 1 failed" in printed
    assert "b.png: File name too long. Rename the image" in failed


def test_failed_run_with_other_words_does_not_leave_its_labels_under_the_old_facts(
    model, photos, tmp_path, monkeypatch
):
    out, image, replace = tmp_path / "out", photos / "c.png", os.replace

    def failing(source, target):
        if str(target).endswith("overlay.png"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    segment(image, out=out)
    monkeypatch.setattr(os, "replace", failing)
    assert segment(image, "--overwrite", out=out, words="blue, black") == 2
    monkeypatch.setattr(os, "replace", replace)
    assert segment(image, "--overwrite", out=out) == 0
    assert (np.asarray(Image.open(out / "c.labels.png")) == 2).all()


def test_results_may_go_beside_the_images_and_are_never_segmented(model, photos, capsys):
    for _ in range(2):
        assert segment(photos, out=photos) == 0
        assert segment(photos / "*", out=photos) == 0
    assert "0 segmented, 4 already there, 0 failed" in capsys.readouterr().out.splitlines()[-1]
    images = ["a.png", "b.png", "c.png", "deep/d.png", "notes.txt"]
    assert written(photos) == sorted([*three("a", "b", "c", "deep/d"), *images])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_and_tables_on_one_terminal_keep_to_their_own_lines(model, photos, tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert segment(photos, out=tmp_path / "out") == 0
    shown = terminal.getvalue()
    assert "segmenting" in shown
    assert "a.png" in shown
    assert not [line for line in re.split("[\r\n]", shown) if "segmenting" in line and ".png" in line]


def test_interrupt_keeps_what_is_finished_and_the_next_run_goes_on(
    model, photos, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    honest = ColourSegmenter.encode_images
    calls = []

    def interrupted(self, images):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(self, images)

    monkeypatch.setattr(ColourSegmenter, "encode_images", interrupted)
    assert segment(photos, out=out) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert written(out) == three("a", "b")
    assert segment(photos, out=out) == 0
    assert len(calls) == 5
    assert written(out) == three("a", "b", "c", "deep/d")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_full_or_read_only_folder_stops_the_run_with_one_clear_message(
    model, photos, tmp_path, monkeypatch, capsys, code
):
    out = tmp_path / "out"
    replace = os.replace

    def failing(source, target):
        if str(target).endswith("b.labels.png"):
            raise OSError(code, os.strerror(code))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    assert segment(photos, out=out) == 2
    message = capsys.readouterr().err
    assert os.strerror(code) in message
    assert "--out" in message
    assert written(out) == three("a")


def test_paths_are_printed_whole_and_as_they_are(model, photos, tmp_path, capsys):
    out = tmp_path / "[bold]" / ("long" * 40)
    segment(photos / "a.png", photos / "b" / ("missing" * 20), out=out)
    printed, failed = capsys.readouterr()
    assert f"results in {out}\n" in printed
    assert f"{photos / 'b' / ('missing' * 20)}: no file there" in failed


def test_out_that_is_a_file_is_explained(model, photos, tmp_path, capsys):
    out = tmp_path / "out"
    out.write_text("a file")
    assert segment(photos, out=out) == 2
    assert "choose another folder" in capsys.readouterr().err.lower()


def test_many_images_print_one_table(model, tmp_path, capsys):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(10):
        Image.new("RGB", (8, 8), "red" if index < 6 else "white").save(folder / f"{index}.png")
    assert segment(folder, out=tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert printed.count("10 images") == 1
    assert "60.0%" in printed


def test_classes_file_with_synonyms_is_recorded(model, photos, tmp_path):
    classes = tmp_path / "classes.txt"
    classes.write_text("warm\tred, black\ncold\tblue\n")
    out = tmp_path / "out"
    assert segment(photos / "a.png", "--classes-file", classes, out=out, words=None) == 0
    facts = json.loads((out / "a.json").read_text())
    assert facts["vocabulary"] == ["warm", "cold"]
    assert facts["synonyms"] == {"warm": ["red", "black"], "cold": ["blue"]}
    assert facts["classes"][0]["name"] == "warm"


@pytest.mark.parametrize(
    ("arguments", "words", "parts"),
    [
        (["photos"], None, ["no words", "--classes-file FILE"]),
        (["photos", "--classes-file", "x"], "cat", ["both --words and --classes-file"]),
        (["photos"], "cat,,dog", ["an empty name"]),
        (["photos"], "cat, cat", ["already class 0"]),
        (["photos", "--background", "threshold"], "cat", ["no threshold"]),
        ([], "cat", ["looking for images", "none"]),
        (["photos", "--device", "abacus"], "cat", ["choosing the device 'abacus'"]),
    ],
)
def test_a_command_that_cannot_run_says_why(
    model, photos, tmp_path, capsys, monkeypatch, arguments, words, parts
):
    monkeypatch.chdir(tmp_path)
    assert segment(*arguments, out=tmp_path / "out", words=words) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part in message
    assert not (tmp_path / "out").exists()


def test_unknown_model_names_the_nearest(photos, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["segment", str(photos), "--words", "cat", "--model", "minni", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "Nearest: mini" in capsys.readouterr().err


def test_words_are_embedded_once_and_images_that_cannot_be_read_hold_on_to_nothing(
    model, tmp_path, monkeypatch
):
    import gc
    import weakref

    calls, held = [], []
    embed = ColourSegmenter.embed_texts

    def counted(self, names, prompts):
        calls.append(names)
        return embed(self, names, prompts)

    def failing(image, *_):
        frame = np.zeros(10)  # as a decoder's
        held.append(weakref.ref(frame))
        raise ImageError(doing=f"reading {image}", found="damage", expected="an image", fix="Mend it.")

    monkeypatch.setattr(ColourSegmenter, "embed_texts", counted)
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"damage")
    alive = []

    def counting(out):
        alive.append(sum(each() is not None for each in held))
        return real(out)

    monkeypatch.setattr("lexiseg.inference.results.load_image", failing)
    import lexiseg.runs.bulk.segment as command

    real = command.facts_of
    monkeypatch.setattr(command, "facts_of", counting)
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "segment",
                str(tmp_path),
                "--words",
                "red, green",
                "--model",
                "colours",
                "--out",
                str(tmp_path / "out"),
            ]
        )
    assert stopped.value.code == 1
    gc.collect()
    assert len(calls) == 1
    assert alive == [0, 0, 0]


def test_results_go_out_in_other_formats_and_export_refuses_to_replace_a_file(
    model, photos, tmp_path, capsys
):
    assert segment(photos, "--format", "coco", "labelme", "cvat-masks", out=tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png", "c.png", "deep/d.png"]
    assert {one["category_id"]: one["area"] for one in content["annotations"]} == dict.fromkeys(range(4), 240)
    assert (tmp_path / "out" / "labelme" / "deep" / "d.json").is_file()
    assert (tmp_path / "out" / "cvat-masks.xml").is_file()
    target = tmp_path / "set.json"
    target.write_text("mine")
    for more, code in (([], 2), (["--overwrite"], 0)):
        with pytest.raises(SystemExit) as stopped:
            main(["export", str(tmp_path / "out"), str(target), "--format", "coco", *more])
        assert int(stopped.value.code or 0) == code
        assert (target.read_text() == "mine") == bool(code)
    assert "a file of that name" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "out"), str(tmp_path / "x.json"), "--truth"])
    assert "no predictions store" in capsys.readouterr().err


def test_without_a_result_nothing_goes_out_and_the_failures_are_named(model, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    assert segment(tmp_path / "photos", "--format", "coco", "-q", out=tmp_path / "out") == 1
    printed, failed = capsys.readouterr()
    assert "a.png" in failed  # also of a quiet command
    assert printed == ""
    assert not (tmp_path / "out" / "coco.json").exists()
