"""Names of files and classes as keys: two lists of names are joined by these, whoever wrote them.

macOS and some archives write é as e and an accent (NFD), everything else as one letter (NFC). Both look
the same, and a join of the raw strings loses them.
"""

import os
import re
import unicodedata

#: Files and folders that a system or a program leaves beside a person's own, in lower case.
_CLUTTER = frozenset(
    {
        "__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found",
        "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
    }
)  # fmt: skip
_SYSTEM_FILES = frozenset({".ds_store", ".localized", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})


def name_key(name: str) -> str:
    """Return a name as it is joined by: in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name)


def class_key(name: str) -> str:
    """Return a class name as it is joined by: composed, in any case of letters, white space made single."""
    return " ".join(name_key(name).split()).casefold()


def is_clutter(name: str) -> bool:
    """Return whether a file or folder is nobody's data: hidden, or left there by a system or a program.

    ``.ipynb_checkpoints``, ``__MACOSX``, ``.DS_Store``, ``._photo.jpg``, ``Thumbs.db`` and the like.
    """
    return name.startswith(".") or name.lower() in _CLUTTER


def is_system_file(name: str) -> bool:
    """Return whether clutter is a file that never holds anything of a person, so that nobody need be told."""
    return name.lower() in _SYSTEM_FILES or name.startswith("._")


#: Names that Windows gives to devices, whatever their suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def why_unsafe(relative: str, *, windows: bool = os.name == "nt") -> str:
    r"""Say why a path that a file names must not be read or written below a folder; empty where it may.

    Args:
        relative: As it stands in a list, a table or an archive.
        windows: Look also for what only Windows takes for something else: drives, ``\\``, ``CON``, a dot at the end.
    """
    if not relative or "\0" in relative:
        return "an empty name" if not relative else "a name with a zero byte"
    parts = re.split(r"[/\\]" if windows else "/", relative)
    if not parts[0] or (windows and re.match(r"[A-Za-z]:", relative)):
        return "an absolute path"
    if ".." in parts:
        return "a path that leaves the folder"
    if windows and any(_DEVICES.fullmatch(part.rstrip(" .")) for part in parts):
        return "a name that Windows has for a device"
    if windows and any(part != "." and part != part.rstrip(" .") for part in parts):
        return "a name whose end Windows cuts off"
    return ""
