"""``lexiseg datasets``: what is known, checking a copy, converting one."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.progress import progress
from lexiseg.cli.similarity import Similarity
from lexiseg.cli.worker_options import WorkerOptions
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from rich.console import Console

    from lexiseg.data.published.dataset_facts import DatasetFacts

CHECK_FAILED = 1


@dataclass(frozen=True, kw_only=True)
class ListDatasets:
    """List the data sets that are known by name, with tree, licence and source."""

    def run(self) -> int:
        """Print the table and the trees; return the exit code."""
        from rich.table import Table

        from lexiseg.data.datasets import DATASETS, FOLDER

        console = open_console(highlight=False, soft_wrap=True)
        table = Table(highlight=False)
        for heading in ("name", "classes", "images", "split", "other pixels"):
            table.add_column(heading)
        for facts in DATASETS.values():
            images = " or ".join(f"{count:,}" for count in facts.splits[facts.default_split])
            table.add_row(
                facts.name,
                str(facts.num_classes),
                images,
                facts.default_split,
                re.split("[:,(]", facts.background)[0],
            )
        table.add_row(FOLDER, "yours", "yours", "yours", "yours")
        open_console().print(table)
        for facts in DATASETS.values():
            _print_facts(console, facts)
        console.print("\nfolder  your own data: classes.txt, images/, labels/; see the page Evaluation")
        return 0


@dataclass(frozen=True, kw_only=True)
class ShowDataset:
    """Show one data set: tree, meaning of the label files, splits, licence, source."""

    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]]
    """voc20, context59, ade20k-150, …"""

    def run(self) -> int:
        """Print; return the exit code."""
        from lexiseg.data.datasets import dataset_facts

        _print_facts(open_console(highlight=False, soft_wrap=True), dataset_facts(self.name))
        return 0


@dataclass(frozen=True, kw_only=True)
class CheckDataset:
    """Check a copy: files, counts, label values, versions, void, images or classes that leak.

    Exits with 1 when something must be mended.
    """

    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]]
    """voc20, context59, ade20k-150, …, or folder."""

    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PATH")]]
    """The folder of the copy."""

    split: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME …")] = ()
    """Splits of images that must be there, such as train val; all that are there if left out."""

    classes: Annotated[str | None, tyro.conf.arg(metavar="SPLIT")] = None
    """Seen and unseen classes, such as zero-shot-voc: training labels must then hold no unseen one."""

    part: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The copy is a part on purpose: do not compare the number of images."""

    def run(self) -> int:
        """Check and print; return the exit code."""
        from lexiseg.data.datasets import FOLDER, dataset_facts
        from lexiseg.data.published.checks import check_dataset, check_folder
        from lexiseg.data.splits import load_split

        with progress("reading label files", 0) as advance:
            if self.name == FOLDER:
                report = check_folder(self.path, advance=advance)
            else:
                report = check_dataset(
                    dataset_facts(self.name),
                    self.path,
                    splits=self.split,
                    class_split=None if self.classes is None else load_split(self.classes),
                    whole=not self.part,
                    advance=advance,
                )
        print("\n".join(report.lines()))
        return 0 if report.is_good else CHECK_FAILED


@dataclass(frozen=True, kw_only=True)
class ConvertDataset:
    """Write a copy in another layout, or as a data folder with classes.txt, images/ and labels/.

    The same command goes on where it was stopped.
    """

    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]]
    """voc20, context59, ade20k-150, …"""

    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PATH")]]
    """The folder of the copy."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """Where the result goes; never the copy itself."""

    split: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The split of images; the one that numbers are reported on if left out."""

    source: Annotated[str | None, tyro.conf.arg(name="from", metavar="LAYOUT")] = None
    """The layout to read; the first found if left out."""

    target: Annotated[str, tyro.conf.arg(name="to", metavar="LAYOUT")] = "folder"
    """The layout to write; lexiseg datasets show NAME lists them."""

    hide_unseen: Annotated[str | None, tyro.conf.arg(metavar="SPLIT")] = None
    """Turn the unseen classes of this split into void, for training."""

    bulk: WorkerOptions = field(default_factory=WorkerOptions)

    def run(self) -> int:
        """Convert; return the exit code."""
        from lexiseg.data.datasets import dataset_facts
        from lexiseg.data.published.convert import convert_dataset
        from lexiseg.data.published.reader import PublishedDataset
        from lexiseg.data.splits import load_split
        from lexiseg.runs.bulk.each import mapper

        hide = None if self.hide_unseen is None else load_split(self.hide_unseen)
        dataset = PublishedDataset(dataset_facts(self.name), self.path, self.split, layout=self.source)
        with progress("converting", len(dataset)) as advance:
            written = convert_dataset(
                dataset,
                self.out,
                self.target,
                hide=hide,
                advance=advance,
                apply=mapper("converting", self.bulk.chosen()),
            )
        kept = f", {len(dataset) - written:,} were there already" if written < len(dataset) else ""
        print(f"{written:,} label files written to {self.out}{kept} ({dataset.layout.name} → {self.target})")
        return 0


@dataclass(frozen=True, kw_only=True)
class ListSplits:
    """List the divisions of classes into seen and unseen."""

    def run(self) -> int:
        """Print the table; return the exit code."""
        from rich.table import Table

        from lexiseg.data.splits import load_split, split_names

        table = Table(highlight=False)
        for heading in ("name", "data set", "seen", "unseen"):
            table.add_column(heading, no_wrap=True)
        table.add_column("from")
        for name in split_names():
            split = load_split(name)
            table.add_row(name, split.dataset, str(len(split.seen)), str(len(split.unseen)), split.source)
        open_console().print(table)
        return 0


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """List, check and convert published data sets, and compare vocabularies."""

    action: (
        Annotated[ListDatasets, tyro.conf.subcommand("list", prefix_name=False)]
        | Annotated[ShowDataset, tyro.conf.subcommand("show", prefix_name=False)]
        | Annotated[CheckDataset, tyro.conf.subcommand("check", prefix_name=False)]
        | Annotated[ConvertDataset, tyro.conf.subcommand("convert", prefix_name=False)]
        | Annotated[ListSplits, tyro.conf.subcommand("splits", prefix_name=False)]
        | Annotated[Similarity, tyro.conf.subcommand("similarity", prefix_name=False)]
    ) = field(default_factory=ListDatasets)

    def run(self) -> int:
        """Do it; return the exit code."""
        return self.action.run()


def _print_facts(console: "Console", facts: "DatasetFacts") -> None:
    splits = ", ".join(
        f"{name} {' or '.join(f'{n:,}' for n in counts)}" for name, counts in facts.splits.items()
    )
    rows = {
        "classes": f"{facts.num_classes}",
        "background": facts.background,
        "images": splits,
        "labels": facts.rule,
        "layouts": ", ".join(layout.name for layout in facts.layouts),
        "licence": facts.licence,
        "source": facts.source,
    }
    console.print(f"\n{facts.name}  {facts.title}", style="bold")
    for key, value in rows.items():
        console.print(f"  {key:<10}  {value}", markup=False)
    for line in facts.tree.splitlines():
        console.print(f"    {line}", markup=False)
