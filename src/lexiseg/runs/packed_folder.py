"""What a folder in the hub's layout says of itself: everything that a run's or a head's own files say, in ``config.json``."""

import os
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from lexiseg.core.json_text import read_json_file

CONFIG = "config.json"
LIBRARY = "lexiseg"
#: What was packed.
PackedKind: TypeAlias = Literal["run", "head"]


def packed_kind(folder: str | Path) -> PackedKind | None:
    """Return what a folder was packed from; None for one that is no packed run or head."""
    config = _read(Path(os.path.expanduser(folder)))
    kind = config.get("kind") if config.get("library_name") == LIBRARY else None
    return next((each for each in get_args(PackedKind) if each == kind), None)


def packed_part(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what one of a run's or a head's files said, by its name; None where the folder is not packed or has none."""
    if packed_kind(folder) is None:
        return None
    part = _read(folder).get(name.removesuffix(".json"))
    return part if isinstance(part, dict) else None


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = read_json_file(folder / CONFIG)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
