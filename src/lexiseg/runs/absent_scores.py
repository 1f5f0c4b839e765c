"""Where the scores of absent words of a model are kept: with the model."""

import hashlib
import os
from importlib.resources import files
from pathlib import Path

from lexiseg.core.cache_folder import default_cache
from lexiseg.inference.none_of_these import AbsentScores

#: In the folder of a model, or after the name of its file.
ABSENT_SCORES = "absent_scores.json"


def absent_scores_path(name: str, *, is_registered: bool) -> Path:
    """Return the file for a model: in its folder, beside its file, else in the cache.

    Args:
        name: What ``lexiseg.load`` takes.
        is_registered: Whether it is one of our names, and so no path.
    """
    place = Path(os.path.expanduser(name))
    if not is_registered and place.is_dir():
        return place / ABSENT_SCORES
    if not is_registered and place.is_file():
        return place.with_name(f"{place.name}.{ABSENT_SCORES}")
    return default_cache() / "absent-scores" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def find_absent_scores(name: str, *, is_registered: bool) -> AbsentScores | None:
    """Read them; what a person has measured comes before what comes with the package. None where there are none."""
    found = AbsentScores.load(absent_scores_path(name, is_registered=is_registered))
    if found is not None or not is_registered:
        return found
    return AbsentScores.load(Path(str(files("lexiseg.inference").joinpath(f"absent_scores/{name}.json"))))
