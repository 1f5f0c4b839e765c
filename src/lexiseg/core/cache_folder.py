"""Where things that can be computed again are kept."""

import os
import sys
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
