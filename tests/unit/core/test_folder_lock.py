"""A folder has one writer, or writers that ask for the same; a lock ends with its process."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from lexiseg.core import folder_lock
from lexiseg.core.errors import InputError, OutputError
from lexiseg.core.folder_lock import try_lock, writing_alike, writing_alone


def test_the_second_writer_is_refused_and_the_next_is_not(tmp_path):
    refused = pytest.raises(InputError, match="another run that writes there now")
    with writing_alone(tmp_path), refused, writing_alone(tmp_path):
        pass
    with writing_alone(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock_and_no_file(tmp_path):
    holding = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from lexiseg.core.folder_lock import writing_alone
        with writing_alone(Path(sys.argv[1])):
            print("held", flush=True)
            time.sleep(60)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError), writing_alone(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with writing_alone(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_made_and_got_nothing_is_removed_again(tmp_path):
    with writing_alone(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    with writing_alone(tmp_path / "used"):
        (tmp_path / "used" / "file").touch()
    assert (tmp_path / "used" / "file").exists()


def test_those_who_claim_the_same_write_together_and_others_do_not(tmp_path):
    claims: list[str] = []

    def claim(word: str):
        def check(alone: bool) -> None:
            if alone:
                claims.append(word)
            if claims[-1] != word:
                raise InputError(doing="d", found=f"{claims[-1]}", expected="e", fix="f")

        return check

    with writing_alike(tmp_path, claim("cat")):
        with writing_alike(tmp_path, claim("cat")):
            pass
        with pytest.raises(InputError, match="cat"), writing_alike(tmp_path, claim("dog")):
            pass
        with pytest.raises(InputError, match="another run"), writing_alone(tmp_path):
            pass
    with writing_alike(tmp_path, claim("dog")):
        pass
    assert claims == ["cat", "dog"]


def test_one_that_never_ends_claiming_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "_PATIENCE", 0.05)
    refused = pytest.raises(InputError, match="another run")
    with writing_alone(tmp_path), refused, writing_alike(tmp_path, lambda alone: None):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, code):
    def failing(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(folder_lock.fcntl, "flock", failing)
    with pytest.warns(UserWarning, match="without locks"), writing_alone(tmp_path):
        pass


def test_other_failures_of_the_lock_and_a_file_in_the_way_are_explained(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"writing .*file"), writing_alone(tmp_path / "file"):
        pass

    def failing(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(folder_lock.fcntl, "flock", failing)
    with (tmp_path / "file").open() as file, pytest.raises(OutputError, match="Input/output error"):
        try_lock(file.fileno(), tmp_path / "file")
