"""Can colour alone tell what is in a synthetic scene? Writes scene_shortcuts.json beside this file.

python benchmarks/accuracy/scene_shortcuts.py

If it could, a method would look as if it found shapes when it only counts pixels. Needs scikit-learn.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.data.scenes import SceneSettings, scene_batch  # noqa: E402

SETTINGS = SceneSettings(num_things=24, num_stuffs=12)
NUM_TRAIN, NUM_TEST = 4000, 2000
MIN_PIXELS = 8


def main() -> None:
    train, test = (
        scene_batch(SETTINGS, seed, 0, 0, num, num) for seed, num in ((1, NUM_TRAIN), (2, NUM_TEST))
    )
    means = [batch.images.float().mean((2, 3)).numpy() for batch in (train, test)]
    areas = [
        roc_auc_score(
            test.tags[:, label],
            LogisticRegression(max_iter=1000).fit(means[0], train.tags[:, label]).decision_function(means[1]),
        )
        for label in range(36)
    ]
    forest = RandomForestClassifier(200, random_state=0, n_jobs=-1).fit(*colours_of_things(train))
    found = {
        "area_under_curve_things": float(np.mean(areas[:24])),
        "area_under_curve_stuffs": float(np.mean(areas[24:])),
        "things_named_by_colour_in_true_mask": float(forest.score(*colours_of_things(test))),
        "chance": 1 / 24,
    }
    print(json.dumps(found, indent=1))
    facts = {"command": "python benchmarks/accuracy/scene_shortcuts.py", **machine()}
    facts |= {"num_train": NUM_TRAIN, "num_test": NUM_TEST}
    (HERE / "scene_shortcuts.json").write_text(json.dumps({**facts, **found}, indent=1) + "\n")


def colours_of_things(batch) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean colour inside every thing's mask, and its class."""
    colours, labels = [], []
    for image, label_map in zip(batch.images.numpy(), batch.label_maps.numpy(), strict=True):
        for label in np.unique(label_map):
            inside = label_map == label
            if label < 24 and inside.sum() >= MIN_PIXELS:
                colours.append(image[:, inside].mean(1))
                labels.append(label)
    return np.array(colours), np.array(labels)


if __name__ == "__main__":
    main()
