"""Where the scores of absent words of a model are kept: with the model."""

import hashlib
import os
from importlib.resources import files
from pathlib import Path

from lexiseg.core.cache_folder import default_cache
from lexiseg.inference.none_of_these import AbsentScores
from lexiseg.inference.segmenter import Segmenter

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


def find_absent_scores(name: str, model: Segmenter, *, is_registered: bool) -> AbsentScores | None:
    """Read those that fit a model with its own settings.

    What a person has measured comes before what comes with the package, of which there may be several: of a model with
    and without a part that is not on every machine. None where none fits.

    Args:
        name: What the model was loaded by.
        model: The model.
        is_registered: Whether that is one of our names.
    """
    packaged = Path(str(files("lexiseg.inference").joinpath("absent_scores")))
    places = [absent_scores_path(name, is_registered=is_registered)]
    places += sorted(packaged.glob(f"{name}*.json")) if is_registered else []
    measured = (AbsentScores.load(place) for place in places)
    return next((each for each in measured if each is not None and each.fits(model, model.settings)), None)
