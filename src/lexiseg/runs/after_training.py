"""What a person wants to know when a training has ended: its score, where the model is, what comes next."""

import math
import shlex
from pathlib import Path

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.json_text import decode_json
from lexiseg.engine.log import LOG, read_log
from lexiseg.engine.loop import final_step
from lexiseg.scoring.training_plot import draw_training, series_of_log

CURVES = "curves.png"
#: Of the measures that recipes report, those that are shares, in the order of use.
_SHOWN = ("mean_iou", "seen_mean_iou", "unseen_mean_iou", "harmonic_iou")


def last_scores(run: Path) -> dict[str, float]:
    """Return what an evaluation of a run's final weights found, else the last one; empty where nothing was scored."""
    final = final_step(run)
    wanted = final[0] if final is not None and final[1] == "best" else None
    try:
        lines = (run / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            found = decode_json(line)
        except ValueError:
            continue
        is_evaluation = isinstance(found, dict) and isinstance(found.get("evaluation"), dict)
        if is_evaluation and wanted in (None, found.get("step")):
            return {name: float(value) for name, value in found["evaluation"].items()}
    return {}


def draw_curves(run: Path) -> Path:
    """Draw the losses and evaluations of a run's log into ``curves.png`` in its folder; return where that is.

    Raises:
        CheckpointError: The log is damaged.
        OutputError: The picture cannot be written.
    """
    path = run / CURVES
    with atomic_path(path) as temporary:
        draw_training(run.name, *series_of_log(read_log(run))).save(temporary, format="PNG")
    return path


def words_of(model: object) -> str:
    """Return a few words that a model can be asked for: its own classes where it has a fixed list of them."""
    vocabulary = getattr(model, "vocabulary", None)
    return "cat, grass, sky" if vocabulary is None else ", ".join(vocabulary.names[:3])


def farewell(model: Path, *, scores: dict[str, float], words: str, data: Path | None = None) -> str:
    """Write the lines that end a training.

    Args:
        model: Where the model is.
        scores: Of the images to score, by measure, in [0, 1]; empty where there are none.
        words: Names for the example.
        data: The folder in our own layout that was trained on; None for other data.
    """
    shown = {
        name: scores[name] for name in _SHOWN if name in scores and not math.isnan(scores[name])
    } or scores
    said = ", ".join(_said(name, value) for name, value in shown.items())
    final = final_step(model)
    if said and final is not None and final[1] == "best":
        said += f" (the best evaluation, after step {final[0]:,}, whose weights the model has)"
    where = shlex.quote(str(model))
    lines = [
        f"validation: {said}"
        if said
        else "validation: none; list labelled images in val.txt to have a score.",
        f"the model:  {model}",
        f"use it:     lexiseg segment photo.jpg --words {shlex.quote(words)} --model {where}",
    ]
    if data is not None and said:
        lines.append(f"score it:   lexiseg evaluate {where} --data {shlex.quote(str(data))} --split val")
    return "\n".join(lines)


def _said(name: str, value: float) -> str:
    """Write a score: shares as percent, losses and sums of percents as they are."""
    return f"{name} {value:.4g}" if name.endswith("loss") or name == "rsum" else f"{name} {100 * value:.1f} %"
