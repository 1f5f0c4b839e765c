"""A file is whole or not there."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from lexiseg.core.atomic_write import atomic_folder, atomic_path, refuse_unwritable
from lexiseg.core.errors import CheckpointError, ImageError, OutputError


def test_file_appears_only_when_the_block_succeeds(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_old_file_stays_when_the_block_fails(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_files_get_ordinary_permissions(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize(
    ("code", "part"),
    [(errno.ENOSPC, "Free some space"), (errno.EACCES, "change its permissions"), (errno.EROFS, "--out")],
)
def test_full_or_read_only_folder_says_what_to_do(tmp_path, code, part):
    path = tmp_path / "a.txt"
    with pytest.raises(OutputError) as caught, atomic_path(path):
        raise OSError(code, os.strerror(code))
    assert f"writing {path}: found {os.strerror(code)}" in str(caught.value)
    assert part in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_file_in_the_way_of_the_folder_is_explained(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="choose another folder"), atomic_path(tmp_path / "out" / "a.txt"):
        pass


@pytest.mark.parametrize("kind", [OutputError, ImageError, CheckpointError])  # some are OSErrors as well
@pytest.mark.parametrize("writer", [atomic_path, atomic_folder])
def test_an_error_that_is_explained_already_is_not_explained_again(tmp_path, kind, writer):
    inner = kind(doing="a", found="b", expected="c", fix="d")
    with pytest.raises(kind) as caught, writer(tmp_path / "a.txt"):
        raise inner
    assert caught.value is inner


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    refuse_unwritable(tmp_path / "new" / "report.json")
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"A part of that path is a file|A file has the name"):
        refuse_unwritable(tmp_path / "file" / "report.json")


_HALF = """
import os, pathlib, signal, sys
from lexiseg.core.atomic_write import {writer}
with {writer}(pathlib.Path(sys.argv[1])) as temporary:
    (temporary / "b.txt" if temporary.is_dir() else temporary).write_text("half")
    {end}
"""


@pytest.mark.parametrize("writer", ["atomic_path", "atomic_folder"])
def test_what_a_killed_process_left_is_gone_when_the_next_one_writes_there(tmp_path, writer):
    kill = _HALF.format(writer=writer, end="os.kill(os.getpid(), signal.SIGKILL)")
    wait = _HALF.format(writer=writer, end="print(flush=True); sys.stdin.read()")
    again = _HALF.format(writer=writer, end="")
    subprocess.run([sys.executable, "-c", kill, str(tmp_path / "killed")], check=False)
    (left,) = os.listdir(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", wait, str(tmp_path / "slow")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as slow:
        assert slow.stdout.readline()
        subprocess.run([sys.executable, "-c", again, str(tmp_path / "second")], check=True)
        assert left not in os.listdir(tmp_path)
        slow.communicate()
    assert slow.returncode == 0  # what a process at work had not finished was let alone
    assert sorted(os.listdir(tmp_path)) == ["second", "slow"]
