"""Services that show a run while it goes, such as Weights & Biases and MLflow, through accelerate's trackers."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lexiseg.core.errors import MissingPackageError
from lexiseg.core.json_text import read_json_file


def open_trackers(names: Sequence[str], folder: Path) -> list[Any]:
    """Open a run at each service, under the name of the run's folder and with its settings.

    Args:
        names: Of accelerate's trackers.
        folder: The run's.

    Raises:
        MissingPackageError: accelerate or the package of a service is not installed.
    """
    if not names:
        return []
    if importlib.util.find_spec("accelerate") is None:
        raise MissingPackageError.of("accelerate", doing="opening trackers", extra="train")
    from accelerate.state import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(
                doing=f"sending the log to {name}",
                found=f"no package {name}",
                expected=f"the package {name}, and an account or server where it wants one",
                fix=f"Install it with: pip install {name}; or leave {name} out of --run.trackers.",
            )
    PartialState()  # their classes ask it which process they are in
    opened = []
    for name in names:
        kind = LOGGER_TYPE_TO_CLASS[name]
        where = (str(folder),) if kind.requires_logging_directory else ()
        tracker = kind(folder.name, *where)
        tracker.start()
        tracker.store_init_configuration(_plain(_recipe(folder)))
        opened.append(tracker)
    return opened


def _recipe(folder: Path) -> dict[str, Any]:
    try:
        content = read_json_file(folder / "recipe.json")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _plain(value: Any, name: str = "") -> dict[str, Any]:
    """Return settings by dotted names, as services take them: texts and numbers."""
    if isinstance(value, dict):
        return {
            key: found
            for each, item in value.items()
            for key, found in _plain(item, f"{name}.{each}").items()
        }
    return {name.lstrip("."): value if isinstance(value, bool | int | float | str) else str(value)}
