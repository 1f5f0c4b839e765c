"""Where things that can be computed again are kept."""

import os
import sys
from contextlib import suppress
from pathlib import Path


def default_cache() -> Path:
    r"""Return the folder for things that can be computed again.

    ``$LEXISEG_CACHE`` (``~`` is the user's folder), else the platform's cache folder:
    ``$XDG_CACHE_HOME/lexiseg`` or ``~/.cache/lexiseg``; ``~/Library/Caches/lexiseg`` on macOS;
    ``%LOCALAPPDATA%\lexiseg`` on Windows.

    Raises:
        RuntimeError: None of these is set and the user has no home folder.
    """
    if chosen := os.environ.get("LEXISEG_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path("~").expanduser()) / "lexiseg"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/lexiseg").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lexiseg"


def private_cache() -> Path:
    """Return ``default_cache()``, made for its owner alone where it is not there.

    What is kept tells which words and images were used. A folder that is there keeps its permissions.
    """
    folder = default_cache()
    if not folder.is_dir():
        with suppress(OSError):  # whoever writes there says what is wrong
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
    return folder
