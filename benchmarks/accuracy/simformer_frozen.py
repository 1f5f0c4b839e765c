"""SimFormer's tables above frozen DINOv2 features: scenes of many classes and of few, and photographs.

Run from the repository root (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/accuracy/simformer_frozen.py many --from CUTOUTS [TABLE ...]
    python benchmarks/accuracy/simformer_frozen.py few --from CUTOUTS [TABLE ...]
    python benchmarks/accuracy/simformer_frozen.py photographs --from CLOTHING [TABLE ...]
    python benchmarks/accuracy/simformer_frozen.py objects --from COCO [COCO ...]

``many`` and ``few`` are scenes of 112×112 pixels pasted from a folder of emoji (names.tsv), 60 things and 4 stuffs or 8
and 4. ``photographs`` are those of Clothing Co-Parsing with masks, their middle, at 224×168 pixels, with the 12 names that
cover most of them; ``objects`` are COCO's, at 168×224, with the 8 names that most of them show. All are made once below
--out. TABLE is the name of an ablation, simformer/frozen (of photographs simformer/frozen-divided) if left out.
Every image is encoded once; what is finished in --out is not done again, and the table shows what is finished, beside ridge
regression. Writes simformer_frozen_WORLD.json beside this file, where other tables stay.
"""

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402
from simformer_worlds import PHOTOGRAPHS, SCENE, WORLDS, photograph_folder, ridge, scene_folder  # noqa: E402

from lexiseg.core.atomic_write import atomic_path  # noqa: E402
from lexiseg.core.json_text import read_json_file  # noqa: E402
from lexiseg.recipes.base import find_recipe  # noqa: E402
from lexiseg.recipes.simformer import SimFormerRecipe  # noqa: E402
from lexiseg.runs.studies import find_ablation  # noqa: E402
from lexiseg.runs.studies.run import run_ablation  # noqa: E402
from lexiseg.runs.studies.study import Ablation, with_changes  # noqa: E402
from lexiseg.runs.studies.table import markdown, to_json  # noqa: E402

NUM_STEPS = 400


def say(sentence: str) -> None:
    """Print what is done, with the time, at once."""
    print(f"{datetime.datetime.now():%H:%M:%S} {sentence}", flush=True)


def recipe_of(ablation: Ablation, changes: dict[str, Any]) -> SimFormerRecipe:
    """Return the recipe of a table's first cell, which has the division of the classes that all have."""
    recipe = with_changes(find_recipe(ablation.recipe), changes | dict(ablation.cells[0].trained_with))
    assert isinstance(recipe, SimFormerRecipe)
    return recipe


def kept(file: Path, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Read what was measured, or measure and write it."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as part:
            part.write_text(json.dumps(measure()) + "\n", encoding="utf-8")
    return dict(read_json_file(file))


def main() -> None:
    """Read the command line, run the tables and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("world", choices=[*WORLDS, *PHOTOGRAPHS])
    parser.add_argument("tables", nargs="*", help="ablations")
    parser.add_argument(
        "--from", dest="sources", type=Path, nargs="+", required=True, help="folders of either"
    )
    parser.add_argument("--out", type=Path, default=Path("build/frozen"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num-steps", type=int, default=NUM_STEPS)
    parser.add_argument("--rows", nargs="*", help="rows to train now; all if left out")
    parser.add_argument(
        "--columns", nargs="*", help="columns to train now, such as '25%% unseen'; all if left out"
    )
    given = parser.parse_args()
    changes: dict[str, Any] = {"run.num_steps": given.num_steps, "data.crop": None, "short_side": SCENE}
    if given.world in PHOTOGRAPHS:
        usual, folder = "simformer/frozen-divided", photograph_folder(given.world, given.sources, given.out)
        changes["short_side"] = min(PHOTOGRAPHS[given.world].size)
    else:
        usual, folder = "simformer/frozen", scene_folder(given.world, given.sources[0], given.out)
    file = HERE / f"simformer_frozen_{given.world}.json"
    found = read_json_file(file)["tables"] if file.is_file() else {}
    for name in given.tables or [usual]:
        ablation = find_ablation(name)
        cells = tuple(
            cell
            for cell in ablation.cells
            if (given.rows is None or cell.row in given.rows)
            and (given.columns is None or cell.column in given.columns)
        )
        run: dict[str, Any] = {"seeds": tuple(given.seeds), "changes": changes | {"data.path": folder}}
        out = given.out / f"runs-{given.world}"
        run_ablation(replace(ablation, cells=cells, claims=(), learns=()), out, **run, advance=say)
        measured = run_ablation(ablation, out, **run, only_finished=True)
        found[name] = {
            **to_json(ablation, measured),
            "changes": changes,
            "ridge regression, all masks": kept(
                out / "ridge" / f"{ablation.file_stem}.json",
                lambda: ridge(recipe_of(ablation, run["changes"]).data),  # noqa: B023  # called at once
            ),
        }
        for measure in ablation.measures:
            print(markdown(ablation, measured, measure), end="\n\n")
        print(f"ridge regression, all masks: {found[name]['ridge regression, all masks']}")
        for claim in found[name]["claims"]:
            print(f"{claim['says']}: {claim['holds']} {claim['differences']} {claim['interval']}")
    facts = {
        "command": f"python benchmarks/accuracy/simformer_frozen.py {given.world} --from FOLDER",
        **machine(),
    }
    file.write_text(json.dumps({**facts, "tables": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
