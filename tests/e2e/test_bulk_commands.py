"""Many images by several workers: the same bytes as one process, whatever dies; states that a person can read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caption_files import write_parquet, write_shard
from coloured_blocks import make_data
from lexiseg.cli import main
from lexiseg.cli.result_folder import REQUEST_FILE
from lexiseg.data.captions import tar_index
from lexiseg.data.image_shards import ShardReader
from lexiseg.runs.bulk.states import STATES_FILE

FIXTURES = Path(__file__).parents[1] / "fixtures"
#: Built by name in every process: ``toy_segmenter`` is on the path of workers too.
MODEL = "toy_segmenter:ColourSegmenter"


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if number % 2 else ".") / f"{number}.png")
    (folder / "bad.png").write_bytes(b"damage")
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def segment(*arguments: object, out: Path, model: str = MODEL) -> int:
    return run("segment", *arguments, "--words", "red, green, blue", "--model", model, "--out", out)


def written(out: Path) -> dict[str, bytes]:
    files = [
        path for path in out.rglob("*") if path.is_file() and path.name not in (REQUEST_FILE, STATES_FILE)
    ]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_two_workers_write_the_same_bytes_and_tell_the_same(photos, tmp_path, capsys):
    assert segment(photos, out=tmp_path / "one") == 1
    alone = capsys.readouterr().out
    assert segment(photos, "--workers", 2, out=tmp_path / "two") == 1
    together = capsys.readouterr().out
    assert written(tmp_path / "two") == written(tmp_path / "one")
    assert len(written(tmp_path / "one")) == 18
    assert "6 segmented, 1 failed" in together
    assert sorted(together.replace("/two", "/one").splitlines()) == sorted(alone.splitlines())
    assert segment(photos, "--workers", 2, out=tmp_path / "one") == 1
    assert "0 segmented, 6 already there, 1 failed" in capsys.readouterr().out


def test_a_list_names_images_and_keeps_their_folders(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    (tmp_path / "list.txt").write_text(
        f"0.png\n\n./deep/1.png\r\n{photos}/2.png\n../photos/deep/3.png\n0.png\n"
    )
    assert segment("--list", tmp_path / "list.txt", out=tmp_path / "out") == 0
    whole = photos.as_posix().lstrip("/")
    stems = {name.removesuffix(".json") for name in written(tmp_path / "out") if name.endswith(".json")}
    assert stems == {"0", "deep/1", f"{whole}/2", f"{whole}/deep/3"}


@pytest.fixture
def shards(photos) -> Path:
    """The photographs in a tar and a Parquet file, one that cannot be decoded and one of a hostile name among them."""
    folder = photos.parent / "shards"
    files = sorted(photos.rglob("*.png"))
    records = [{"__key__": f"t{file.stem}", "png": file.read_bytes()} for file in files[:4]]
    write_shard(folder / "0.tar", records)
    columns = {
        "image": [file.read_bytes() for file in files[4:]],
        "key": [f"p{file.stem}" for file in files[4:]],
    }
    columns["key"][-1] = "../../up"
    write_parquet(folder / "1.parquet", columns, row_group_size=2)
    return folder


@pytest.mark.exhaustive
def test_shards_give_what_files_give_whoever_reads_them(photos, shards, tmp_path, capsys, monkeypatch):
    paths = (shards / "*.tar", shards / "1.parquet")
    assert segment(*paths, out=tmp_path / "one") == 1
    printed, failed = capsys.readouterr()
    assert "5 segmented, 2 failed" in printed
    assert "1.parquet/record 2: the name '../../up' in its shard: a path that leaves the folder" in failed
    assert segment(*paths, "--workers", 2, out=tmp_path / "two") == 1
    assert written(tmp_path / "two") == written(tmp_path / "one")
    assert segment(photos, out=tmp_path / "files") == 1
    maps = {name: content for name, content in written(tmp_path / "files").items() if name.endswith(".png")}
    ours = {name: content for name, content in written(tmp_path / "one").items() if name.endswith(".png")}
    assert {Path(name).name.lstrip("tp"): content for name, content in ours.items()}.items() <= {
        Path(name).name: content for name, content in maps.items()
    }.items()
    capsys.readouterr()
    read = []
    real = ShardReader.read
    monkeypatch.setattr(ShardReader, "read", lambda self, image: read.append(image.name) or real(self, image))
    monkeypatch.setattr(tar_index, "read_tar_index", None)  # headers are not read again
    assert segment(paths[0], out=tmp_path / "one") == 1
    assert "3 already there, 1 failed" in capsys.readouterr().out
    assert read == ["tbad.png"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("none.tar",), "no such file"),
        (("0.tar.gz",), "a compressed tar file"),
        (("1.parquet", "--image-column", "photo"), "photo"),
        (("0.tar", "--bands", "1"), "--bands with images in shards"),
    ],
)
def test_shards_that_cannot_be_used_are_told(shards, tmp_path, capsys, monkeypatch, arguments, told):
    monkeypatch.chdir(shards)
    (shards / "0.tar.gz").write_bytes(b"x")
    assert segment(*arguments, out=tmp_path / "out") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\0", None, b"\n"])
def test_a_list_that_is_none_is_told(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    assert segment("--list", tmp_path / "list.txt", out=tmp_path / "out") == 2
    assert "list.txt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_failed_is_shown_and_done_again_alone(photos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    segment(photos, out=out)
    (out / "0.json").unlink()  # no business of a retry
    capsys.readouterr()
    assert run("jobs", "show", out, "--json", tmp_path / "states.json") == 1
    shown = capsys.readouterr().out
    assert "segment with 1 worker: has ended" in shown
    assert "done 6 of 7; failed 1; left 0" in shown
    assert f"failed: {photos / 'bad.png'}: data that no image decoder recognises" in shown
    assert "--retry-failed" in shown
    assert json.loads((tmp_path / "states.json").read_text())["failures"][0]["path"] == str(
        photos / "bad.png"
    )
    assert run("jobs", "failed", out) == 0
    assert capsys.readouterr().out == f"{photos / 'bad.png'}\n"
    assert segment(photos, "--retry-failed", out=out) == 1
    assert "0 segmented, 1 failed" in capsys.readouterr().out
    Image.new("RGB", (8, 8), "red").save(photos / "bad.png")
    assert segment(photos, "--retry-failed", out=out) == 0
    assert "1 segmented, 0 failed" in capsys.readouterr().out
    assert not (out / "0.json").exists()
    assert run("jobs", "show", out) == 0
    assert "done 7 of 7; failed 0; left 0" in capsys.readouterr().out


def store_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != STATES_FILE}


@pytest.mark.exhaustive
def test_predictions_by_two_workers_are_the_same_store(tmp_path, capsys):
    make_data(tmp_path / "data", num=6)
    (tmp_path / "data/images/3.png").write_bytes(b"damage")
    predict = ("predict", MODEL, "--data", tmp_path / "data", "--split", "all", "--out")
    assert run(*predict, tmp_path / "one") == 1
    assert run(*predict, tmp_path / "two", "--workers", 2) == 1
    assert store_of(tmp_path / "two") == store_of(tmp_path / "one")
    assert len(store_of(tmp_path / "one")) == 3
    capsys.readouterr()
    assert run("jobs", "show", tmp_path / "two") == 1
    shown = capsys.readouterr().out
    assert "predict with 2 workers: has ended" in shown
    assert "done 5 of 6; failed 1; left 0" in shown
    assert run(*predict, tmp_path / "two", "--workers", 2) == 1
    assert "0 predicted now, 5 of 6" in capsys.readouterr().out


#: A model that kills its process at one colour, each time or the first time.
DEADLY = """
import os, signal
from pathlib import Path
from toy_segmenter import ColourSegmenter

class Deadly(ColourSegmenter):
    name = "deadly"

    def encode_images(self, images):
        if float(images.min()) == 1.0 and not (ONCE and Path(MARK).exists()):
            Path(MARK).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_images(images)
"""


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    def made(once: bool) -> str:
        (tmp_path / "code").mkdir()
        text = DEADLY.replace("ONCE", str(once)).replace("MARK", repr(str(tmp_path / "died")))
        (tmp_path / "code" / f"deadly_model_{once}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path / "code"))
        return f"deadly_model_{once}:Deadly"

    return made


@pytest.mark.exhaustive
@pytest.mark.parametrize("once", [True, False])
def test_an_image_that_kills_its_worker_costs_no_other(photos, tmp_path, capsys, deadly, once):
    model = deadly(once)
    Image.new("RGB", (20, 12), "white").save(photos / "deep" / "white.png")
    assert segment(photos, "--workers", 2, out=tmp_path / "two", model=model) == 1
    printed, failed = capsys.readouterr()
    assert ("7 segmented, 1 failed" if once else "6 segmented, 2 failed") in printed
    assert ("white.png: it ended 2 workers, the last one alone (SIGKILL" in failed) is not once
    (photos / "deep" / "white.png").unlink()
    assert segment(photos, out=tmp_path / "one", model=model) == 1
    kept = {name: content for name, content in written(tmp_path / "two").items() if "white" not in name}
    assert kept == written(tmp_path / "one")


#: Slow enough to be killed in the middle.
SLOW = """
import time
from toy_segmenter import ColourSegmenter

class Slow(ColourSegmenter):
    name = "slow"

    def encode_images(self, images):
        time.sleep(0.4)
        return super().encode_images(images)
"""


@pytest.mark.exhaustive
def test_a_killed_driver_takes_its_workers_along_and_the_next_run_goes_on(
    photos, tmp_path, monkeypatch, capsys
):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "slow_model.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    out = tmp_path / "out"
    arguments = [
        "segment",
        str(photos),
        "--words",
        "red, green, blue",
        "--model",
        "slow_model:Slow",
        "--out",
        str(out),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "code"), str(FIXTURES), *sys.path]),
    }
    driver = subprocess.Popen(
        [sys.executable, "-m", "lexiseg", *arguments, "--workers", "2"],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not list(out.glob("*.json")) and driver.poll() is None:
            time.sleep(0.02)
        workers = children_of(driver.pid)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    end = time.monotonic() + 20
    while (alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.05)
    assert workers
    assert not alive
    run("jobs", "show", out)
    assert "was stopped before its end; the same command goes on" in capsys.readouterr().out
    assert run(*arguments) == 1
    printed = capsys.readouterr().out
    assert "already there, 1 failed" in printed
    assert len(written(out)) == 18


def children_of(process: int) -> list[int]:
    """Return the processes below one, by its group: the server that forks workers, and these."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found, front = [], [process]
    while front:
        front = [child for child, parent in parents.items() if parent in front]
        found += front
    return found
