"""What the system refuses is told in four parts by every command, never as a traceback."""

import builtins
import errno
import io
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from coloured_blocks import make_data
from lexiseg.cli import COMMANDS, main
from lexiseg.cli.system_errors import _KNOWN, explain_system_error
from lexiseg.runs.load import MODELS
from toy_segmenter import registered


def run(*arguments: object) -> int:
    """Run a command; anything but an exit is a traceback to a person."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    make_data(folder / "data", num=2)
    Image.new("RGBA", (60, 60), (9, 9, 9, 200)).save(folder / "leaf.png")
    Image.new("RGB", (40, 40), (250, 9, 9)).save(folder / "data/scene.tif")
    return folder


#: Every command with the path in question in each place that takes one: DATA is what can be read, PATH the place.
READS = [
    'segment PATH --words red,green --model colours --out OUT',
    'segment DATA/images --classes-file PATH --model colours --out OUT',
    'segment DATA/images --words red --model PATH --out OUT',
    'raster PATH --words red,green --model colours --out OUT',
    'video PATH --words red,green --model colours --out OUT',
    'evaluate colours --data PATH',
    'evaluate PATH --data DATA',
    'predict colours --data PATH --out OUT',
    'score PATH',
    'score STORE --data PATH --dataset folder',
    'calibrate PATH',
    'export PATH OUT',
    'retrieve colours --captions PATH',
    'classify colours --images PATH',
    'captions check PATH',
    'captions pack PATH --out OUT',
    'scenes make OUT --from PATH',
    'references build --source cutouts --from PATH --words leaf --out OUT',
    'references build --source folder --from PATH --words leaf --out OUT',
    'references build --source cutouts --from DATA --classes-file PATH --out OUT',
    'references show PATH',
    'references merge PATH PATH --out OUT',
    'datasets check voc20 PATH',
    'datasets convert coco-stuff164k PATH --from published --to labelTrainIds --out OUT',
    'datasets similarity PATH voc20',
    'models PATH',
    'train simseg/tiny --resume --out PATH',
    'distil --teacher mini --data PATH --out OUT',
    'gamma PATH',
    'curate embed PATH --out OUT',
    'convert PATH',
    'start PATH',
    'fit PATH --out OUT',
    'exchange PATH',
    'next PATH',
    'sheet PATH',
    'jobs show PATH',
    'jobs failed PATH',
    'export-model PATH --out OUT.onnx',
    'licences PATH',
    'pack PATH --out OUT',
    'explain PATH --words red,green --model colours',
    'explain DATA/images/0.png --classes-file PATH --model colours',
    'explain DATA/images/0.png --words red --model PATH',
    'serve --model PATH --port 0',
]  # fmt: skip
WRITES = [
    "segment DATA/images --words red,green --model colours --out PATH",
    "raster DATA/scene.tif --words red,green --model colours --polygons none --out PATH",
    "evaluate colours --data DATA --json PATH",
    "predict colours --data DATA --out PATH",
    "score STORE --json PATH",
    "score STORE --plot PATH",
    "score STORE --confusion PATH",
    "export STORE PATH",
    "captions pack DATA/pairs --out PATH",
    "scenes make PATH --num 4 --size 32",
    "scenes show PATH --num 2",
    "references build --source cutouts --from CUTOUTS --words leaf --out PATH",
    "train simseg/tiny --run.num-steps 1 --out PATH",
    "sheet RESULTS --out PATH",
    "explain DATA/images/0.png --words red,green --model colours --out PATH",
    "explain DATA/images/0.png --words red,green --model colours --json PATH",
    "jobs show RESULTS --json PATH",
]


def through_a_file(folder: Path) -> Path:
    (folder / "file").write_text("not a folder")
    return folder / "file" / "inner.png"


def circle(folder: Path) -> Path:
    (folder / "circle.png").symlink_to(folder / "circle.png")
    return folder / "circle.png"


def too_long(folder: Path) -> Path:
    return folder / ("long" * 100) / "inner.png"


def of_folders(folder: Path) -> Path:
    (folder / "folder.png" / "inner").mkdir(parents=True)
    return folder / "folder.png"


def absent(folder: Path) -> Path:
    return folder / "absent.png"


KINDS = [through_a_file, circle, too_long]


@pytest.fixture
def fill(data, tmp_path):
    def filled(command: str, path: Path) -> list[str]:
        if "STORE" in command:
            run("predict", "colours", "--data", data / "data", "--out", tmp_path / "store")
        if "CUTOUTS" in command:
            (tmp_path / "cutouts").mkdir()
            Image.open(data / "leaf.png").save(tmp_path / "cutouts/leaf.png")
        if "DATA/pairs" in command:
            (tmp_path / "pairs/images").mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "pairs/images/0.png")
            (tmp_path / "pairs/captions.tsv").write_text("0\ta cat\n")
        if "RESULTS" in command:
            run(
                "segment",
                data / "data/images",
                "--words",
                "red,green",
                "--model",
                "colours",
                "--out",
                tmp_path / "results",
            )
        places = {
            "RESULTS": tmp_path / "results",
            "DATA/pairs": tmp_path / "pairs",
            "CUTOUTS": tmp_path / "cutouts",
            "DATA": data / "data",
            "STORE": tmp_path / "store",
            "OUT": tmp_path / "out",
            "PATH": path,
        }
        for name, place in places.items():
            command = command.replace(name, str(place))
        return command.split()

    return filled


@pytest.mark.exhaustive("kind", "command")
@pytest.mark.parametrize("kind", [*KINDS, of_folders, absent], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("command", READS)
def test_no_path_to_read_ends_in_a_traceback(tmp_path, capsys, fill, command, kind):
    arguments = fill(command, kind(tmp_path))
    capsys.readouterr()
    code = run(*arguments)
    printed = capsys.readouterr()
    assert code in (1, 2)
    assert re.search("^error|failed", printed.out + printed.err, re.MULTILINE)
    assert "Traceback" not in printed.err


@pytest.mark.exhaustive("kind", "command")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("command", WRITES)
def test_no_path_to_write_ends_in_a_traceback(tmp_path, capsys, fill, command, kind):
    arguments = fill(command, kind(tmp_path))
    capsys.readouterr()
    code = run(*arguments)
    message = capsys.readouterr().err
    if code == 0:  # a file took the place of the link
        assert kind is circle
        return
    assert code == 2
    assert "error: " in message
    assert "to do" in message


CODES = [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO, errno.ESTALE]


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("command", ["score STORE", "export STORE OUT", "evaluate colours --data DATA"])
def test_what_the_system_refuses_while_a_command_runs_is_explained(
    tmp_path, capsys, monkeypatch, fill, command, code
):
    """Tests may run as root, whom no permission stops: the calls themselves fail here."""
    arguments = fill(command, tmp_path)
    capsys.readouterr()

    def failing(real):
        def call(path, *given, **named):
            if str(path).startswith(str(tmp_path)) or "labels" in str(path) or "classes.txt" in str(path):
                raise OSError(code, os.strerror(code), str(path))
            return real(path, *given, **named)

        return call

    monkeypatch.setattr(builtins, "open", failing(builtins.open))
    monkeypatch.setattr(io, "open", failing(io.open))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    code_of_exit = run(*arguments)
    monkeypatch.undo()
    printed = capsys.readouterr()
    assert code_of_exit in (1, 2)
    assert os.strerror(code) in printed.err + printed.out


def test_a_call_that_nobody_expected_to_fail_names_command_path_and_what_to_do(monkeypatch, capsys):
    for code, (expected, fix) in _KNOWN.items():

        def failing(code=code):
            raise OSError(code, os.strerror(code), "a/place", None, "b/place")

        monkeypatch.setattr("lexiseg.cli.doctor.Doctor.run", lambda self: failing())
        assert run("doctor") == 2
        message = capsys.readouterr().err
        assert message.splitlines() == [
            "error: running lexiseg doctor",
            f"  found     {os.strerror(code)}: a/place -> b/place",
            f"  expected  {expected}",
            f"  to do     {fix}",
        ]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError("a library's own words"), "a library's own words"),
        (OSError(errno.EXDEV, "Cross-device link", b"bytes\xff"), "Cross-device link: bytes\udcff"),
        (OSError(errno.EBADF, "Bad file descriptor", 7), "Bad file descriptor"),
        (OSError(), "OSError"),
    ],
)
def test_errors_of_other_shapes_are_told_too(error, found):
    assert explain_system_error("score", error).found == found


def test_every_command_is_looked_at():
    tried = {line.split()[0] for line in [*READS, *WRITES]}
    without_paths = {"doctor", "protocols", "retrain", "ablate"}
    assert tried | without_paths == set(COMMANDS)
