"""Where things that can be computed again are kept."""

import os
import sys
from pathlib import Path

from lexiseg.core.atomic_write import output_error
from lexiseg.core.errors import LexisegError


class NoCacheFolderError(LexisegError, RuntimeError):
    """There is no place for things that can be computed again."""


def default_cache() -> Path:
    r"""Return the folder for things that can be computed again.

    ``$LEXISEG_CACHE`` (``~`` is the user's folder), else the platform's cache folder:
    ``$XDG_CACHE_HOME/lexiseg`` or ``~/.cache/lexiseg``; ``~/Library/Caches/lexiseg`` on macOS;
    ``%LOCALAPPDATA%\lexiseg`` on Windows.

    Raises:
        NoCacheFolderError: None of these is set and the user has no home folder.
    """
    try:
        return _default_cache()
    except RuntimeError as error:
        raise NoCacheFolderError(
            doing="looking for the cache folder",
            found=str(error),
            expected="a home folder, or a folder in LEXISEG_CACHE",
            fix="Set LEXISEG_CACHE to a folder that can be written to.",
        ) from error


def _default_cache() -> Path:
    if chosen := os.environ.get("LEXISEG_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path("~").expanduser()) / "lexiseg"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/lexiseg").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lexiseg"


def make_private(folder: Path) -> None:
    """Make a folder that only its user can look into: words, and features of images, say what somebody works on.

    A folder that is there already keeps its rights: a shared cache may be wanted.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
