"""Does mini know when none of the words is there? Fit on unlabelled photographs, measured on labelled ones.

    python benchmarks/accuracy/none_of_these.py ../shared/data            # without smoothing
    python benchmarks/accuracy/none_of_these.py ../shared/data --smooth   # with, which wants dinov2-small

Fits what absent words score on every fourth photograph of coco-things-free (labels unused), writes it into the package,
and measures on every second photograph of coco-free and coco-free-2: lists of three words of the 129, with one that is
there or with none. Intervals: 2.5 to 97.5 % of 1,000 draws of photographs. Writes none_of_these.json beside this file.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import lexiseg
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.folder import FolderDataset
from lexiseg.inference.none_of_these import AbsentScores, fit_absent_scores

HERE = Path(__file__).parent
PACKAGED = Path(lexiseg.__file__).parent / "inference" / "absent_scores"
LISTS, LARGE, ALPHAS = 3, 0.05, (0.01, 0.05, 0.1, 0.2)


def measure(model, folders: list[Path]) -> dict:
    rng = np.random.default_rng(0)
    photographs = []
    for folder in folders:
        dataset = FolderDataset(folder, labels="only")
        names = dataset.vocabulary.names
        for sample in (dataset[index] for index in range(0, len(dataset), 2)):
            encoded = model.encode(sample.image)
            shares = (
                np.bincount(sample.label_map.ravel(), minlength=IGNORE_INDEX + 1)[: len(names)]
                / sample.label_map.size
            )
            large, none = np.flatnonzero(shares > LARGE), np.flatnonzero(shares == 0)
            of_photo: dict = {"there": [], "absent": [], "right_pixels": [], "absent_pixels": []}
            for _ in range(LISTS if len(large) else 0):
                absent = [names[label] for label in rng.choice(none, 3, replace=False)]
                shown = int(rng.choice(large))
                for kind, words in (("absent", absent), ("there", [names[shown], *absent[:2]])):
                    result = model.segment(encoded, words, none_of_these="label")
                    of_photo[kind].append(result.absent_chance)
                    flagged = result.unknown
                    if kind == "absent":
                        of_photo["absent_pixels"].append(float(flagged.mean()))
                    else:
                        of_photo["right_pixels"].append(float(flagged[sample.label_map == shown].mean()))
            photographs.append(of_photo)
    return summary(photographs)


def summary(photographs: list[dict]) -> dict:
    rng = np.random.default_rng(1)
    draws = [np.arange(len(photographs)), *rng.integers(0, len(photographs), (1000, len(photographs)))]

    def gather(kind: str, chosen) -> np.ndarray:
        return np.array([value for place in chosen for value in photographs[place][kind]])

    def rows(chosen) -> dict:
        there, absent = gather("there", chosen), gather("absent", chosen)
        wins = (absent[:, None] > there).mean() + 0.5 * (absent[:, None] == there).mean()
        found = {"auc": wins, "right_pixels_flagged": gather("right_pixels", chosen).mean()}
        found["absent_pixels_flagged"] = gather("absent_pixels", chosen).mean()
        for alpha in ALPHAS:
            found[f"false_alarms_{alpha}"] = (there > alpha).mean()
            found[f"misses_{alpha}"] = (absent <= alpha).mean()
        return found

    values = [rows(chosen) for chosen in draws]
    return {
        name: {
            "value": round(float(values[0][name]), 4),
            "interval": [
                round(float(end), 4)
                for end in np.quantile([each[name] for each in values[1:]], (0.025, 0.975))
            ],
        }
        for name in values[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--smooth", action="store_true", help="mini as it is where dinov2-small is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    smooth = "dinov2" if arguments.smooth else "none"
    # The head shares scores anew and leaves the winning one as high as it was: with or without, the measure is the same.
    model = lexiseg.load("mini", method_settings={"head": "none", "smooth": smooth})
    photos = sorted((arguments.data / "coco-things-free/images").iterdir())[::4]
    model.absent_scores = fit_absent_scores(model, photos, draws=4)
    packaged = PACKAGED / ("mini_dinov2.json" if arguments.smooth else "mini.json")
    model.absent_scores.save(packaged)
    assert AbsentScores.load(packaged) is not None
    found = measure(model, [arguments.data / "coco-free", arguments.data / "coco-free-2"])
    facts = {
        "fitted_on": len(photos),
        "measured_on": "every second photograph of coco-free and coco-free-2",
        "lists": "3 words, 1 or none there",
        **found,
    }
    out = HERE / "none_of_these.json"
    record = json.loads(out.read_text()) if out.exists() else {}
    record[f"smooth={smooth}"] = facts
    out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
