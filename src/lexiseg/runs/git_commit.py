"""The commit of a git checkout, read from its files.

git itself runs what a checkout's ``.git/config`` names (``core.fsmonitor``, filters, hooks), and a run is started in
folders that come from anywhere. Reading runs nothing; it cannot tell whether files differ from the commit.
"""

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")  # SHA-1 or SHA-256
_REFERENCE = re.compile(r"ref: (refs/[\w./+@-]+)")
_MOST_BYTES = 1 << 20


def commit_of(folder: Path) -> str | None:
    """Return the commit that the checkout at ``folder`` is at; None where it is none, or its files are unusual.

    Args:
        folder: The top of the checkout, with ``.git`` in it, a folder or (of a further work tree) a file.
    """
    git = folder / ".git"
    if git.is_file():
        named = re.fullmatch(r"gitdir: (.+)", _read(git))
        if named is None:
            return None
        git = folder / named[1]
    head = _read(git / "HEAD")
    if _COMMIT.fullmatch(head):
        return head
    reference = _REFERENCE.fullmatch(head)
    if reference is None or ".." in reference[1]:
        return None
    shared = _read(git / "commondir")
    places = [git, *([git / shared] if shared else [])]
    for place in places:
        commit = _read(place / reference[1])
        if _COMMIT.fullmatch(commit):
            return commit
    for place in places:
        for line in _read(place / "packed-refs").splitlines():
            commit, _, name = line.partition(" ")
            if name == reference[1] and _COMMIT.fullmatch(commit):
                return commit
    return None


def _read(file: Path) -> str:
    """Return the text of a file without the white space around it; empty where it cannot be read."""
    try:
        if not file.is_file():  # a pipe would wait for ever
            return ""
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MOST_BYTES).strip()
    except (OSError, ValueError):
        return ""
