"""What tells a run's folder from others, without reading it."""

from pathlib import Path

#: Any of these tells a run's folder; a hub checkpoint has config.json instead.
_MARKS = ("recipe.json", "log.jsonl", "checkpoints")


def is_run_folder(name: str) -> bool:
    """Tell whether a name is that of a folder which ``lexiseg train`` wrote, perhaps in part."""
    folder = Path(name).expanduser()
    if not folder.is_dir() or (folder / "config.json").exists():
        return False
    return any((folder / mark).exists() for mark in _MARKS)
