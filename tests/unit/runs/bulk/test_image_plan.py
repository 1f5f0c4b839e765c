"""Which files are taken for images, and that every image's results have a name of their own."""

import json
import os
from pathlib import Path

import pytest

from lexiseg.core.errors import InputError
from lexiseg.core.json_text import read_json_file
from lexiseg.core.result_files import file_digest, image_facts, result_paths
from lexiseg.runs.bulk.inputs import is_done, plan_images

FACTS = {"source": None, "size": {}, "classes": [], "vocabulary": [], "settings": {}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"x")


def results(base: str) -> None:
    touch(f"{base}.labels.png", f"{base}.overlay.png")
    Path(f"{base}.json").write_text(json.dumps(FACTS))


def stems(*patterns: str, out: str = "out") -> dict[str, str]:
    return {path.as_posix(): stem for path, stem in plan_images(patterns, Path(out))}


def taken(*patterns: str, out: str = "out") -> list[str]:
    return list(stems(*patterns, out=out))


# Which files


def test_folder_gives_images_of_any_depth_in_order_and_nothing_hidden():
    touch("p/b.png", "p/a.JPG", "p/deep/c.webp", "p/notes.txt", "p/.x.png", "p/._a.jpg", "p/.cache/d.png")
    assert stems("p") == {"p/a.JPG": "a", "p/b.png": "b", "p/deep/c.webp": "deep/c"}


def test_glob_takes_images_only_and_expands_folders():
    touch("p/a.png", "p/notes.txt", "p/deep/c.png", "p/deep/.h.png", "p/deep/notes.txt")
    assert stems("p/*") == {"p/a.png": "a", "p/deep/c.png": "deep/c"}
    assert stems("p/**") == {"p/a.png": "a", "p/deep/c.png": "deep/c"}


def test_images_of_one_glob_keep_their_folders():
    touch("p/x/cat.png", "p/y/cat.png")
    assert stems("p/*/cat.png") == {"p/x/cat.png": "x/cat", "p/y/cat.png": "y/cat"}


def test_one_image_named_in_several_ways_is_one_job(here):
    touch("p/a.png")
    assert taken("p", "p/a.png", "./p/*.png", str(here / "p/a.png")) == ["p/a.png"]


def test_file_that_is_named_is_taken_whatever_it_is():
    touch("notes.txt", ".x.png")
    results("r/a")
    named = ["notes.txt", ".x.png", "r/a.labels.png", "missing.jpg", "no*match.jpg"]
    assert taken(*named) == named


def test_name_with_wildcards_in_it_is_a_name_first():
    touch("[1].png", "1.png")
    assert taken("[1].png") == ["[1].png"]


@pytest.mark.parametrize("pattern", ["x" * 300, "x" * 300 + ".jpg", "x" * 300 + "*", "loop/a.png", "loop"])
def test_impossible_paths_are_left_to_the_reader_to_report(pattern):
    os.symlink("loop", "loop")
    assert taken(pattern) == [pattern]


def test_links_in_a_circle_do_not_end_the_search():
    touch("p/a.png", "p/sub/b.png")
    os.symlink("round.png", "p/round.png")
    os.symlink("..", "p/sub/up")
    assert taken("p") == ["p/a.png", "p/round.png", "p/sub/b.png"]


def test_nothing_found_says_what_would_be():
    touch("p/notes.txt")
    with pytest.raises(
        InputError,
        match=r"looking for images in p: found none; 1 .txt \(notes.txt\); expected files ending in",
    ):
        plan_images(("p",), Path("out"))


# Results are no images


@pytest.mark.parametrize("pattern", [".", "p", "p/*", "p/**/*.png"])
def test_results_of_any_run_are_not_segmented(pattern):
    touch("p/a.png", "p/sub/b.png")
    results("p/a")
    results("p/sub/of another run")
    assert taken(pattern) == ["p/a.png", "p/sub/b.png"]


def test_images_with_names_like_results_are_segmented():
    touch("p/a.labels.png", "p/b.overlay.png")
    Path("p/b.json").write_text('{"shapes": []}')
    assert taken("p") == ["p/a.labels.png", "p/b.overlay.png"]


@pytest.mark.parametrize("out", ["p", ".", "p/sub/..", "p/link"])
def test_out_may_be_the_searched_folder_or_one_above(out):
    touch("p/a.png")
    os.symlink(".", "p/link")
    assert stems("p", out=out) == {"p/a.png": "a"}


@pytest.mark.parametrize("pattern", ["p", "p/**/*.png"])
def test_half_a_result_in_an_out_folder_inside_the_searched_one_is_no_image(pattern):
    touch("p/a.png", "p/out/a.labels.png", "p/outside/b.png")
    assert taken(pattern, out="p/out") == ["p/a.png", "p/outside/b.png"]


def test_facts_of_each_result_are_read_once(monkeypatch):
    touch("p/a.png")
    results("p/a")
    opened = []

    def counted(path, **_):
        opened.append(path)
        return read_json_file(path, **_)

    monkeypatch.setattr("lexiseg.core.result_files.read_json_file", counted)
    assert stems("p", out="p") == {"p/a.png": "a"}
    assert len(opened) == 1


# Names


def test_images_that_differ_by_suffix_all_keep_it():
    touch("p/a.jpg", "p/a.png", "p/a-2.jpg")
    expected = {"p/a-2.jpg": "a-2", "p/a.jpg": "a.jpg", "p/a.png": "a.png"}
    assert stems("p") == expected
    touch("p/a.gif")
    assert stems("p") == {**expected, "p/a.gif": "a.gif"}


def test_names_do_not_depend_on_the_order():
    touch("A/cat.png", "B/cat.png", "B/cat.jpg", "C/cat.png.gif")
    files = ["A/cat.png", "B/cat.png", "B/cat.jpg", "C/cat.png.gif"]
    assert stems(*files) == stems(*reversed(files))
    assert len(set(stems(*files).values())) == 4


def test_same_name_in_two_folders_gets_the_folder():
    touch("A/cat.png", "B/cat.png", "B/dog.png")
    expected = {"A/cat.png": "A/cat", "B/cat.png": "B/cat", "B/dog.png": "dog"}
    assert stems("A", "B") == expected
    assert stems("A/cat.png", "B/cat.png", "B/dog.png") == expected


def test_same_name_in_folders_of_the_same_name_still_differs_and_stays():
    touch("1/A/cat.png", "2/A/cat.png", "3/A/cat.png")
    two, three = stems("1/A", "2/A"), stems("3/A", "2/A", "1/A")
    assert len(set(three.values())) == 3
    assert two.items() <= three.items()


def test_name_that_is_already_another_images_escape_is_not_shared():
    touch("p/a.jpg", "p/a.png", "p/a.jpg.gif", "p/p/a.jpg")
    assert len(set(stems("p").values())) == 4


@pytest.mark.parametrize("letter", ["x", "é", "山"])
def test_long_names_are_cut_to_what_a_file_system_takes_and_stay_apart(letter):
    long = letter * ((251 - 1) // len(letter.encode()))
    touch(f"p/{long}.jpg", f"p/{long}b.jpg")
    found = stems("p")
    assert len(set(found.values())) == 2
    for stem in found.values():
        for path in result_paths("out", stem).values():
            touch(str(path))


def test_results_beside_the_images_overwrite_neither_images_nor_other_programs_files():
    touch("p/a.png", "p/a.labels.png", "p/b.png")
    Path("p/b.json").write_text('{"shapes": []}')
    os.symlink("p", "link")
    found = stems("p", out="p")
    assert stems("p", out="link") == found
    assert found == {"p/a.labels.png": "a.labels", "p/a.png": "a.png", "p/b.png": "b.png"}
    results("p/b.png")
    assert stems("p", out="p") == found
    assert stems("p", out="elsewhere")["p/b.png"] == "b"


# What is done


@pytest.mark.parametrize(
    "change", ["no change", "image", "size", "time", "request", "file", "damaged", "labels"]
)
def test_done_means_this_image_and_this_request(change):
    touch("A/cat.png", "B/cat.png")
    os.utime("A/cat.png", ns=(10**18, 10**18))
    os.utime("B/cat.png", ns=(10**18, 10**18))
    request = {"vocabulary": ["cat"], "settings": {"model": "x"}}
    results("out/cat")
    facts = {**FACTS, **request, "image": image_facts("A/cat.png")}
    facts["labels_sha256"] = file_digest("out/cat.labels.png")
    Path("out/cat.json").write_text(json.dumps(facts))
    if change == "size":
        Path("A/cat.png").write_bytes(b"xy")
        os.utime("A/cat.png", ns=(10**18, 10**18))
    if change == "time":
        os.utime("A/cat.png", ns=(10**18, 10**18 - 1))
    if change == "request":
        request["vocabulary"] = ["dog"]
    if change == "file":
        Path("out/cat.overlay.png").unlink()
    if change == "labels":
        Path("out/cat.labels.png").write_bytes(b"of another run")
    if change == "damaged":
        Path("out/cat.json").write_text('{"half":')
    image = image_facts("B/cat.png" if change == "image" else "A/cat.png")
    assert is_done(Path("out"), "cat", image, request) == (change == "no change")


def test_missing_image_is_not_done():
    results("out/cat")
    assert not is_done(Path("out"), "cat", image_facts("cat.png"), {})


# Lists of names


def listed(folder: Path, content: bytes) -> list[tuple[str, str]]:
    (folder / "list.txt").write_bytes(content)
    return [(path.as_posix(), stem) for path, stem in plan_images((), Path("out"), lists=["list.txt"])]


LISTS = [
    ("plain", b"p/a.png\np/deep/b.v2.jpg\n", [("p/a.png", "p/a"), ("p/deep/b.v2.jpg", "p/deep/b.v2")]),
    ("no end of line", b"a.png\nb.png", [("a.png", "a"), ("b.png", "b")]),
    ("ends of lines of Windows", b"\xef\xbb\xbfa.png\r\n\r\nb c.png\r\n", [("a.png", "a"), ("b c.png", "b c")]),
    ("empty lines", b"\n\n  \na.png\n\n", [("a.png", "a")]),
    ("twice", b"a.png\n./a.png\np//../a.png\nb.png\n", [("a.png", "a"), ("b.png", "b")]),
    ("from the root", b"a.png\n/x/a.png\n/x/.h.png\n", [("a.png", "a"), ("/x/a.png", "x/a"), ("/x/.h.png", "x/.h")]),
    ("letters of several bytes", "ä/ö.png\n".encode() + b"\xff.png\n", [("ä/ö.png", "ä/ö"), ("\udcff.png", "\udcff")]),
    ("no suffix", b".b\nd.e/f\nd.e/.g.png\n", [(".b", ".b"), ("d.e/f", "d.e/f"), ("d.e/.g.png", "d.e/.g")]),
]  # fmt: skip


@pytest.mark.skipif(os.sep != "/", reason="names are written so elsewhere")
@pytest.mark.parametrize("block", [3, 1 << 20])
@pytest.mark.parametrize(("content", "expected"), [row[1:] for row in LISTS], ids=[row[0] for row in LISTS])
def test_a_list_is_read_by_blocks_of_any_size(here, monkeypatch, block, content, expected):
    monkeypatch.setattr("lexiseg.runs.bulk.inputs._BLOCK", block)
    assert listed(here, content) == expected


@pytest.mark.parametrize("block", [5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "line"),
    [(b"a.png\nb.png\nc\0.png\nd.png\n", 3), (b"a.png\n" + b"x" * 70000, 2), (b"x" * 70000 + b"\n", 1)],
    ids=["zero", "endless", "long"],
)
def test_a_list_that_is_no_text_says_where(here, monkeypatch, block, content, line):
    monkeypatch.setattr("lexiseg.runs.bulk.inputs._BLOCK", block)
    with pytest.raises(InputError, match=f"no text in line {line};"):
        listed(here, content)
