"""How fast do CoCu's models learn on scenes, and is a longer training another answer? Writes cocu_curve.json here.

    python benchmarks/accuracy/cocu_curve.py [--seeds 3] [--out build/cocu-curve] [--finished]

The baseline, the floor and CoCu whole of ``lexiseg ablate cocu/models``, and the best three in place of clusters, at the length
that the recipe has, scored every 75 steps. About a minute a training on a quiet core; what is finished in --out is not done
again. The rate falls to its end within 600 steps, so a point of a curve is no finished training of that length.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine, versions  # noqa: E402

from lexiseg.engine.loop import WEIGHTS  # noqa: E402
from lexiseg.recipes.base import find_recipe  # noqa: E402
from lexiseg.recipes.cocu import SceneCocuRecipe  # noqa: E402
from lexiseg.runs.folder import is_run_folder  # noqa: E402
from lexiseg.runs.studies.study import with_changes  # noqa: E402
from lexiseg.runs.train import train_recipe  # noqa: E402

RECIPE = "cocu/scenes"
EVERY = 75
LEARNT = {"curation.teacher.kind": "learnt"}
#: What is trained, those first that are compared first.
MODELS: dict[str, dict[str, Any]] = {
    "baseline (GroupViT)": {"curation": None},
    "CoCu, made teacher": {},
    "CoCu, learnt teacher": LEARNT,
    "floor: words of random images, made teacher": {"curation.expansion": "random"},
    "CoCu with the best three, learnt teacher": LEARNT | {"curation.sampling": "top"},
    "CoCu with the best three, made teacher": {"curation.sampling": "top"},
}


def curve(run: Path) -> dict[str, dict[str, float]]:
    """Read the scores that a run wrote down, by step."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {str(line["step"]): line["evaluation"] for line in lines if "evaluation" in line}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/cocu-curve"))
    parser.add_argument("--finished", action="store_true", help="train nothing, write what is there")
    given = parser.parse_args()
    found: dict[str, dict[str, Any]] = {name: {} for name in MODELS}
    for seed in range(given.seeds):
        for name, changes in MODELS.items():
            run = given.out / f"{name.replace(' ', '-').replace(':', '').replace(',', '')}-{seed}"
            if not (run / WEIGHTS).exists():
                if given.finished:
                    continue
                recipe = with_changes(find_recipe(RECIPE), changes)
                assert isinstance(recipe, SceneCocuRecipe)
                recipe = replace(recipe, run=replace(recipe.run, seed=seed, evaluate_every=EVERY))
                train_recipe(RECIPE, recipe=recipe, out=run, resume=is_run_folder(str(run)), quiet=True)
            found[name][str(seed)] = curve(run)
            last = list(found[name][str(seed)].values())[-1]
            print(f"{name}, seed {seed}: {last}", flush=True)
    record = {
        "command": "python benchmarks/accuracy/cocu_curve.py",
        **machine(),
        **versions(("torch", "numpy")),
    }
    (HERE / "cocu_curve.json").write_text(json.dumps({**record, "curves": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
