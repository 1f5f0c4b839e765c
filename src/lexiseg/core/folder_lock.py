"""Folders that one run writes at a time.

A folder is locked as long as a process holds its descriptor (``flock``), so a lock never outlives the process that
took it, however that ends, and leaves no file behind.
"""

import errno
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lexiseg.core.atomic_write import output_error, sweep
from lexiseg.core.errors import InputError

if sys.platform != "win32":  # Windows has no flock: runs are not kept apart there
    import fcntl

#: Seconds to wait for another run's claim, which is a small file.
_PATIENCE = 5.0

#: The file system has no locks, as some network ones.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Keep every other run out of a folder while the block runs; the folder is made if it is not there.

    What a killed run left unfinished there is deleted.

    Raises:
        InputError: Another run writes there.
        OutputError: The folder cannot be made or opened.
    """
    with _opened(folder) as descriptor:
        if not try_lock(descriptor, folder):
            raise busy(folder)
        sweep(folder)
        yield


@contextmanager
def writing_alike(folder: Path, claim: Callable[[bool], None]) -> Iterator[None]:
    """Let runs into a folder that ask for the same; the folder is made if it is not there.

    Args:
        folder: The folder.
        claim: Called with True where no other run writes there: it may write down what this run asks for. Then
            called with False, with others perhaps writing: it must refuse what they have not asked for as well.

    Raises:
        InputError: A run that writes there is just starting, or what ``claim`` raises.
        OutputError: The folder cannot be made or opened.
    """
    with _opened(folder) as descriptor:
        if try_lock(descriptor, folder):
            sweep(folder)
            claim(True)
        _share(descriptor, folder)
        claim(False)  # of those who came first, or in between
        yield


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Let in one process after the other: who comes while another is in waits until it has left.

    For what each would make alike, such as a cache: where the file system has no locks, several are in at once.

    Raises:
        OutputError: The folder cannot be made or opened.
    """
    with _opened(folder) as descriptor:
        if sys.platform != "win32":
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _share(descriptor: int, folder: Path) -> None:
    """Take the lock shared; others hold it alone only while they claim, so a little waiting is enough."""
    end = time.monotonic() + _PATIENCE
    while not try_lock(descriptor, folder, shared=True):
        if time.monotonic() > end:
            raise busy(folder)
        time.sleep(0.02)


def busy(folder: Path) -> InputError:
    """Return the error that says that another run writes in a folder."""
    return InputError(
        doing=f"starting to write in {folder}",
        found="another run that writes there now",
        expected="one run a folder at a time",
        fix="Wait until it has ended, or choose another folder with --out.",
    )


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder, made if it is not there; one that was made and got nothing is removed again."""
    is_new = not os.path.lexists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield descriptor
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        os.close(descriptor)


def try_lock(descriptor: int, path: Path, *, shared: bool = False) -> bool:
    """Take the lock of an open file or folder, or change it, without waiting; False where another has it.

    Args:
        descriptor: Of the open file.
        path: Its name, for messages.
        shared: Let others take it who want it shared as well.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise output_error(path, error) from error
        warnings.warn(f"{path} is on a file system without locks: start no second run there.", stacklevel=4)
    return True
