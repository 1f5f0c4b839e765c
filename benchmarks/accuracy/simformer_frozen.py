"""SimFormer's tables above frozen DINOv2 features, in a world of many classes and in one of few.

Run from the repository root::

    python benchmarks/accuracy/simformer_frozen.py many --cutouts FOLDER [TABLE ...]
    python benchmarks/accuracy/simformer_frozen.py few --cutouts FOLDER [TABLE ...]
    python benchmarks/accuracy/simformer_frozen.py photographs --photographs FOLDER [TABLE ...]

``many`` and ``few`` are scenes of 112×112 pixels pasted from a folder of emoji (names.tsv), 60 things and 4 stuffs or 8
and 4, made once below --out; ``photographs`` is any data folder with masks of all classes. TABLE is one of
simformer/frozen, simformer/frozen-splits and simformer/frozen-points; all if left out. Every image is encoded once;
what is finished in --out is not done again. Needs dinov2-small (lexiseg models --get dinov2-small). Writes
simformer_frozen_WORLD.json beside this file.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.data.scenes import PasteSettings  # noqa: E402
from lexiseg.data.scenes.write_folder import write_scene_folder  # noqa: E402
from lexiseg.runs.studies import find_ablation  # noqa: E402
from lexiseg.runs.studies.run import run_ablation  # noqa: E402
from lexiseg.runs.studies.table import markdown, to_json  # noqa: E402

TABLES = ("simformer/frozen", "simformer/frozen-splits", "simformer/frozen-points")
NUM_STEPS = 200
#: Scenes to train with and to score, and things.
WORLDS = {
    "many": (
        400,
        "cactus tulip rose sunflower mushroom tomato eggplant grapes watermelon lemon banana pineapple red_apple pear "
        "strawberry hamburger pizza doughnut birthday_cake balloon backpack guitar trumpet violin basketball trophy "
        "motorcycle house castle mouse cow tiger rabbit cat crocodile whale snail snake horse rooster dog pig elephant "
        "octopus lady_beetle tropical_fish turtle penguin koala camel frog panda crown jeans dress running_shoe ghost "
        "light_bulb camera key",
    ),
    "few": (250, "cactus pineapple guitar cow tropical_fish house balloon motorcycle"),
}
NUM_SCORED = 100


def folder_of(world: str, cutouts: Path, out: Path) -> Path:
    """Write the scenes of a world, where they are not there yet."""
    num, names = WORLDS[world]
    folder = out / world
    settings = PasteSettings(
        folder=cutouts,
        names=tuple(name.replace("_", " ") for name in names.split()),
        size=112,
        num_stuffs=4,
        things_per_scene=(2, 3),
    )
    write_scene_folder(settings, folder, num=num + NUM_SCORED, num_val=NUM_SCORED)
    return folder


def main() -> None:
    """Read the command line, run the tables and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("world", choices=[*WORLDS, "photographs"])
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--cutouts", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/frozen"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num-steps", type=int, default=NUM_STEPS)
    given = parser.parse_args()
    changes: dict[str, Any] = {"run.num_steps": given.num_steps}
    if given.world == "photographs":
        if given.photographs is None:
            parser.error("give the folder with --photographs")
        where = {"data.path": given.photographs}
    else:
        if given.cutouts is None:
            parser.error("give the folder of cut-outs with --cutouts")
        changes |= {"data.crop": None, "short_side": 112}
        where = {"data.path": folder_of(given.world, given.cutouts, given.out)}
    found = {}
    for name in given.tables:
        ablation = find_ablation(name)
        measured = run_ablation(
            ablation,
            given.out / f"runs-{given.world}",
            seeds=tuple(given.seeds),
            changes=changes | where,
            advance=print,
        )
        found[name] = {**to_json(ablation, measured), "seeds": given.seeds, "changes": changes}
        for measure in ablation.measures:
            print(markdown(ablation, measured, measure), end="\n\n")
        for claim in found[name]["claims"]:
            print(f"{claim['says']}: {claim['holds']} {claim['differences']} {claim['interval']}")
    facts = {"command": f"python benchmarks/accuracy/simformer_frozen.py {given.world}", **machine()}
    file = HERE / f"simformer_frozen_{given.world}.json"
    file.write_text(json.dumps({**facts, "tables": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
