"""Make the papers' tables again on synthetic scenes; writes simseg.json, simformer.json, clip_to_seg.json or cocu.json here.

python benchmarks/accuracy/ablations.py [simseg] [simformer] [clip-to-seg] [cocu]
    [--clothing FOLDER] [--out FOLDER] [--jobs 2] [--finished]

About an hour for simseg and two for simformer, on two cores. Without the photographs of Clothing Co-Parsing
(docs/methods/simformer.md) their table is left out. What is finished in --out is not done again. With --finished
nothing is trained: the JSON of a run that was stopped, with empty cells where nothing was measured.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.runs.studies import find_ablation  # noqa: E402
from lexiseg.runs.studies.run import run_ablation  # noqa: E402
from lexiseg.runs.studies.study import Ablation  # noqa: E402
from lexiseg.runs.studies.table import markdown, to_json  # noqa: E402

#: Ablation, steps of each training, and seeds of the cells that name none.
TABLES = {
    "simseg": (
        ("simseg/loda", 500, (0, 1, 2)),
        ("simseg/table11", 500, (0, 1, 2)),
        ("simseg/table12", 500, (0, 1, 2)),
        ("simseg/common-class", 500, (0, 1, 2)),
    ),
    "simformer": (
        ("simformer/pairs", 1000, (0, 1, 2)),
        ("simformer/splits", 1000, (0,)),
        ("simformer/points", 400, (0,)),
        ("simformer/clothing", 1500, (0,)),
    ),
    "clip-to-seg": (
        ("clip-to-seg/parts", 400, (0, 1, 2)),
        ("clip-to-seg/learnt", 400, (0, 1, 2)),
        ("clip-to-seg/gamma", 400, (0,)),
        ("clip-to-seg/merging", 400, (0, 1, 2)),
        ("clip-to-seg/bank", 400, (0, 1, 2)),
        ("clip-to-seg/clothing", 600, (0, 1, 2)),
    ),
    "cocu": (
        ("cocu/models", 300, (0, 1, 2)),
        ("cocu/sampling", 300, (0, 1, 2)),
        ("cocu/neighbours", 300, (0, 1, 2)),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", default=list(TABLES))
    parser.add_argument("--out", type=Path, default=Path("build/ablations"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--clothing", type=Path)
    parser.add_argument("--finished", action="store_true")
    given = parser.parse_args()
    for method in given.methods:
        tables = {}
        for name, num_steps, seeds in TABLES[method]:
            ablation = find_ablation(name)
            if ablation.needs_data and given.clothing is None:
                print(f"{name}: left out, as there is no --clothing FOLDER")
                continue
            where = {"data.path": given.clothing} if ablation.needs_data else {}
            tables[name] = make(
                ablation, num_steps, seeds, where, given.out, given.jobs, only_finished=given.finished
            )
        stopped = " --finished" if given.finished else ""
        facts = {"command": f"python benchmarks/accuracy/ablations.py {method}{stopped}", **machine()}
        (HERE / f"{method.replace('-', '_')}.json").write_text(
            json.dumps({**facts, "tables": tables}, indent=1) + "\n"
        )


def make(
    ablation: Ablation,
    num_steps: int,
    seeds: tuple[int, ...],
    where: dict[str, Any],
    out: Path,
    jobs: int,
    *,
    only_finished: bool,
) -> dict[str, Any]:
    changes = {"run.num_steps": num_steps}
    measured = run_ablation(
        ablation,
        out,
        seeds=seeds,
        changes={**changes, **where},
        jobs=jobs,
        advance=print,
        only_finished=only_finished,
    )
    table = {**to_json(ablation, measured), "seeds": list(seeds), "changes": changes}
    for measure in ablation.measures:
        print(markdown(ablation, measured, measure), end="\n\n")
    for claim in table["claims"]:
        print(f"{claim['says']}: {claim['holds']} {claim['differences']}")
    return table


if __name__ == "__main__":
    main()
