"""What words does each model of CoCu ask for, before anything is trained? Writes cocu_words.json beside this file.

    python benchmarks/accuracy/cocu_words.py [--scenes 1000] [--seeds 5]

The scenes and models of ``lexiseg ablate cocu/models`` and ``cocu/sampling``: the words that three draws a visit give, against
what is truly there. Means over seeds with a 95 % interval (Student's t):

* *visible*: share of the words asked for whose class is in the scene; fillers are not, and captions in empty places no words;
* *unnamed*: visible classes asked for at a visit that the caption does not name: what a caption cannot teach;
* *stuff*: share of the words asked for that are visible stuff.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from scipy.stats import t as student

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine, versions  # noqa: E402

from lexiseg.data.captions.word_prompts import WordListTagger, WordPrompts  # noqa: E402
from lexiseg.data.curation.scene_archives import SceneConcepts, SceneSet, draw_scene_set  # noqa: E402
from lexiseg.recipes.base import find_recipe  # noqa: E402
from lexiseg.recipes.cocu import SceneCocuRecipe  # noqa: E402
from lexiseg.recipes.groupvit import class_words  # noqa: E402
from lexiseg.runs.studies import find_ablation  # noqa: E402
from lexiseg.runs.studies.study import with_changes  # noqa: E402

VISITS = 2


def measure(scenes: SceneSet, recipe: SceneCocuRecipe) -> dict[str, float]:
    how = {"count": recipe.num_words, "prompts": recipe.word_prompts}
    prompts = (
        WordPrompts(tagger=WordListTagger(class_words()), **how)
        if recipe.curation is None
        else SceneConcepts(scenes, recipe.data, recipe.curation, **how)
    )
    class_of = dict(zip(scenes.vocabulary.concepts, scenes.class_of.tolist(), strict=True))
    words = visible = stuff = new = 0
    for scene, caption in enumerate(scenes.captions):
        for visit in range(VISITS):
            texts = prompts(f"scene-{scenes.seed}-{scene}", caption, np.random.default_rng((scene, visit)))
            asked = [class_of[t.removeprefix("a photo of a ").rstrip(".")] for t in texts if t != caption]
            there = [label for label in asked if label >= 0 and scenes.visible[scene, label]]
            words, visible = words + len(asked), visible + len(there)
            stuff += sum(bool(scenes.is_stuff[label]) for label in there)
            new += len({label for label in there if not scenes.said[scene, label]})
    return {"visible": visible / words, "stuff": stuff / words, "unnamed": new / (VISITS * len(scenes))}


def interval(values: list[float]) -> dict[str, float]:
    half = float(student.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": round(float(np.mean(values)), 4), "half_width": round(half, 4)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    recipe = find_recipe("cocu/scenes")
    assert isinstance(recipe, SceneCocuRecipe)
    cells = {
        (cell.row, cell.column): with_changes(recipe, cell.trained_with)
        for name in ("cocu/models", "cocu/sampling")
        for cell in find_ablation(name).cells
        if cell.row not in ("softmax", "cluster")  # models #3 and #4
    }
    found: dict[tuple[str, str], list[dict[str, float]]] = {place: [] for place in cells}
    for seed in range(given.seeds):
        scenes = draw_scene_set(recipe.data, seed, given.scenes)
        for place, changed in cells.items():
            found[place].append(measure(scenes, changed))
    rows = []
    for (row, column), each in found.items():
        numbers = {key: interval([one[key] for one in each]) for key in each[0]}
        rows.append({"row": row, "column": column, **numbers})
        print(rows[-1], flush=True)
    content = {
        "command": "python benchmarks/accuracy/cocu_words.py",
        "machine": machine(),
        "versions": versions(["numpy", "torch"]),
        "scenes": given.scenes,
        "seeds": given.seeds,
        "rows": rows,
    }
    (HERE / "cocu_words.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
