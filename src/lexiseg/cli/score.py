"""``lexiseg score``: count a predictions store under any number of protocols."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lexiseg.cli.options import option
from lexiseg.cli.worker_options import WorkerOptions
from lexiseg.core.errors import InputError
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from lexiseg.data.labelled_dataset import LabelledDataset
    from lexiseg.scoring.protocol import Protocol
    from lexiseg.scoring.store.store import PredictionStore


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score a predictions store under published protocols, side by side.

    Every number is printed with the protocol that was really followed: a name with "+field=value"
    says where the run differs from the published one. Two stores are compared class by class.
    """

    stores: tyro.conf.Positional[
        Annotated[tuple[Path, ...], option("STORE", "One store of lexiseg predict, or two to compare.")]
    ] = ()
    protocol: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="NAME …", help="Protocols; lexiseg protocols lists all of them."),
    ] = ("mmseg", "present-only")
    data: Annotated[
        Path | None,
        option("FOLDER", "Read true label maps there instead of from the store, if they were mended since."),
    ] = None
    dataset: Annotated[
        str | None,
        option(
            "NAME",
            "What --data is: folder, or a published data set. What was predicted if left out, with the same"
            " rules for its label files.",
        ),
    ] = None
    split: Annotated[str | None, option("NAME", "Split of --data; the one predicted if left out.")] = None
    threshold: Annotated[
        float | None,
        option(
            "SCORE", "Decide background anew: pixels that score less, on the model's own scale, become it."
        ),
    ] = None
    partial: Annotated[
        bool,
        tyro.conf.arg(help="Score what is there though images are missing.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    json: Annotated[Path | None, option("FILE", "Write everything there as well.")] = None
    plot: Annotated[
        Path | None, option("FILE", "Draw IoU bars and worst confusions of the first protocol, as PNG.")
    ] = None
    confusion: Annotated[
        Path | None, option("FILE", "Draw the confusion matrix of the first protocol, as PNG.")
    ] = None
    resamples: Annotated[int, tyro.conf.arg(metavar="N", help="Draws of images for the 95 % intervals.")] = (
        1000
    )
    seed: Annotated[int, tyro.conf.arg(metavar="N", help="Of these draws.")] = 0
    bulk: WorkerOptions = field(default_factory=WorkerOptions)

    def run(self) -> int:
        """Score, print and write; return the exit code."""
        from lexiseg.scoring.published import find_protocol
        from lexiseg.scoring.report import write_json
        from lexiseg.scoring.store.store import PredictionStore

        console = open_console()
        if len(self.stores) not in (1, 2) or not self.protocol or self.resamples < 1:
            raise InputError(
                doing="reading the arguments",
                found=f"{len(self.stores)} stores, {len(self.protocol)} protocols, {self.resamples} resamples",
                expected="one store or two, one protocol or more, one resample or more",
                fix="lexiseg score STORE --protocol mmseg present-only",
            )
        if self.data is None and (self.dataset is not None or self.split is not None):
            raise InputError(
                doing="reading the arguments",
                found="--dataset or --split without --data",
                expected="either only with --data: without it, true label maps are those in the store",
                fix="Leave them out, or name the folder of the data set with --data.",
            )
        protocols = [find_protocol(name) for name in self.protocol]
        stores = [PredictionStore(path) for path in self.stores]
        for store in stores:
            store.refuse_missing("scoring", partial=self.partial)
        content = self._score(stores, protocols, console)
        if self.json is not None:
            write_json(content, self.json)
        return 0

    def _score(
        self, stores: "Sequence[PredictionStore]", protocols: "Sequence[Protocol]", console: "Console"
    ) -> dict[str, Any]:
        from lexiseg.core.atomic_write import atomic_path
        from lexiseg.runs.bulk.each import mapper
        from lexiseg.scoring.compare import (
            difference,
            difference_json,
            print_difference,
            refuse_incomparable,
        )
        from lexiseg.scoring.plot import draw_scores
        from lexiseg.scoring.report import Report
        from lexiseg.scoring.score import score
        from lexiseg.scoring.store.counts import StoreCounter
        from lexiseg.scoring.tables import print_report

        workers = self.bulk.chosen()
        apply = None if workers.are_here else mapper("scoring", workers)
        if len(stores) == 2:
            refuse_incomparable(*stores)
        how: dict[str, Any] = {"threshold": self.threshold, "resamples": self.resamples, "seed": self.seed}
        scored, contents = [], []
        for store in stores:
            truth = self._dataset(store)
            counter = StoreCounter(store, truth, apply=apply)
            scored.append(tuple(score(counter, protocol, **how) for protocol in protocols))
            report = Report(results=scored[-1], store=store, truth=truth)
            print_report(report, console)
            contents.append(report.as_json())
        content = contents[0]
        if len(stores) == 2:
            content = {"first": content, "second": contents[1], "differences": []}
            for first, second in zip(*scored, strict=True):
                found = difference(first, second, resamples=self.resamples, seed=self.seed)
                print_difference(found, console)
                content["differences"].append(difference_json(found))
        if self.confusion is not None:
            from lexiseg.scoring.confusion_plot import draw_confusion

            with atomic_path(self.confusion) as temporary:
                draw_confusion(scored[-1][0]).save(temporary, format="PNG")
        if self.plot is not None:
            with atomic_path(self.plot) as temporary:
                draw_scores(scored[-1][0]).save(temporary, format="PNG")
        return content

    def _dataset(self, store: "PredictionStore") -> "LabelledDataset | None":
        from lexiseg.data.datasets import open_dataset, reopen_dataset

        if self.data is None:
            return None
        predicted, split = store.manifest.opened_with, self.split or store.manifest.split
        if self.dataset is not None and self.dataset != predicted.get("dataset"):
            return open_dataset(self.dataset, self.data, split)
        if not predicted:
            raise InputError(
                doing=f"opening {self.data} for the store {store.folder}",
                found="a store that does not say which data set was predicted",
                expected="its name",
                fix="Say with --dataset whether it is a folder or which published data set.",
            )
        return reopen_dataset(predicted, self.data, split)
