"""The models that ``lexiseg train`` leaves, to segment with."""

import os
from pathlib import Path

from lexiseg.core.errors import InputError
from lexiseg.inference.segmenter import Segmenter


def build_trained(name: str | os.PathLike[str]) -> Segmenter:
    """Build the model of a run with the weights it ended with, or has come to.

    Raises:
        CheckpointError: A part of the run is missing or damaged.
        InputError: The model is not one that segments.
    """
    from lexiseg.models.checkpoint import fingerprint
    from lexiseg.recipes.run_folder import load_run, read_recipe

    folder = Path(name).expanduser()
    model = load_run(folder)
    if not isinstance(model, Segmenter):
        raise InputError(
            doing=f"loading the run {folder}",
            found=f"a {type(model).__name__}, which does not segment",
            expected="a run of a method that is a Segmenter",
            fix="Use lexiseg.recipes.run_folder.load_run to get the model as it is.",
        )
    model.name = str(name)
    model.method_settings = {
        **model.method_settings,
        "recipe": read_recipe(folder)[0],
        "weights": fingerprint(model),
    }
    return model
