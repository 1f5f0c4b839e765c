"""``lexiseg ablate``: make a table of a paper again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from lexiseg.cli.options import option
from lexiseg.cli.progress import progress
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Ablate:
    """Make a table of a paper again: train and measure its cells; what is finished is kept.

    Without a name, lists the ablations.
    """

    name: tyro.conf.Positional[
        Annotated[str, option("[NAME]", "simseg/loda, simseg/table11, simformer/pairs, …")]
    ] = ""
    out: Annotated[Path | None, option("FOLDER", "Where runs, measurements and tables go.")] = None
    seeds: Annotated[
        tuple[int, ...], option("SEED ...", "Seeds of the cells that name none themselves (default: 0 1 2).")
    ] = ()
    num_steps: Annotated[
        int | None, option("N", "Train each cell for so many steps instead of the recipe's number.")
    ] = None
    data: Annotated[Path | None, option("FOLDER", "Copy of the data set, for those that read one.")] = None
    jobs: Annotated[int, option("N", "Trainings at a time, in processes that share the cores.")] = 1

    def run(self) -> int:
        """Run it; return the exit code."""
        from rich.table import Table

        from lexiseg.core.atomic_write import atomic_path
        from lexiseg.core.errors import InputError
        from lexiseg.runs.studies import ABLATIONS, find_ablation
        from lexiseg.runs.studies.run import count_trainings, run_ablation
        from lexiseg.runs.studies.table import markdown, to_json

        console = open_console(highlight=False, soft_wrap=True)
        if not self.name:
            table = Table("ablation", "what it shows", highlight=False)
            for name, (_, summary) in ABLATIONS.items():
                table.add_row(name, summary)
            console.print(table)
            return 0
        ablation = find_ablation(self.name)
        if self.out is None:
            raise InputError(
                doing=f"running the ablation {self.name}",
                found="no --out",
                expected="a folder for runs and results",
                fix="Add --out FOLDER; the same command goes on where it was stopped.",
            )
        if self.jobs < 1:
            raise InputError(
                doing=f"running the ablation {self.name}",
                found=f"--jobs {self.jobs}",
                expected="1 or more",
                fix="Leave it out for one at a time.",
            )
        if ablation.needs_data != (self.data is not None):
            raise InputError(
                doing=f"running the ablation {self.name}",
                found="no --data" if self.data is None else f"--data {self.data}",
                expected="the folder of its data set" if self.data is None else "none: it makes its own data",
                fix="Add --data FOLDER; what is in it says the page of the method."
                if self.data is None
                else "Leave it out.",
            )
        changes: dict[str, Any] = {} if self.num_steps is None else {"run.num_steps": self.num_steps}
        where = {} if self.data is None else {"data.path": self.data}
        seeds = self.seeds or ablation.seeds
        with progress("trainings", count_trainings(ablation, seeds), console) as advance:

            def tell(what: str) -> None:
                console.print(f"done: {what}")
                advance()

            measured = run_ablation(
                ablation, self.out, seeds=seeds, changes={**changes, **where}, jobs=self.jobs, advance=tell
            )
        found = to_json(ablation, measured)
        found["seeds"], found["changes"] = list(seeds), changes
        file = self.out / f"{ablation.file_stem}.json"
        with atomic_path(file) as path:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        console.print(f"\n{ablation.title}\n")
        for measure in ablation.measures:
            console.print(markdown(ablation, measured, measure) + "\n", markup=False)
        for one in found["learns"]:
            share = "not measured" if one["share"] is None else f"{one['share']:.2f}"
            console.print(
                f"{' '.join(one['reaches'])} / {' '.join(one['of'])}: {share} ({one['measure']}, {one['wanted']:g} wanted)",
                markup=False,
            )
        for claim in found["claims"]:
            differences = ", ".join(f"{difference:+.3f}" for difference in claim["differences"])
            interval = claim["interval"] and "; 95 % of the mean: {:+.3f} to {:+.3f}".format(
                *claim["interval"]
            )
            console.print(
                f"{claim['says']}: {claim['holds']} ({claim['measure']} {differences}{interval or ''})",
                markup=False,
            )
        console.print(f"\nWritten to {file}")
        return 0
