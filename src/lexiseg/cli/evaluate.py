"""``lexiseg evaluate``: score a model on a folder of labelled images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from lexiseg.cli.data_options import DataOptions
from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.cli.options import Device, Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.cli.progress import progress
from lexiseg.cli.worker_options import BulkOptions
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model on a folder of images with true label maps.

    Pixels are counted over the whole set at the images' original size; the three ways to average are
    printed under their protocols, with intervals over images. Images that cannot be read are left out and listed
    at the end, and the exit code is 1.
    """

    model: tyro.conf.Positional[ModelName]
    images: DataOptions
    json: Annotated[Path | None, option("FILE", "Write the report there as well.")] = None
    unrefined: Annotated[
        bool,
        tyro.conf.arg(
            help="Score with --refine none as well, and print both.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    partial: Annotated[
        bool,
        tyro.conf.arg(
            help="Exit with 0 though images or label files could not be read and were left out.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"
    bulk: BulkOptions = field(default_factory=BulkOptions)
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def run(self) -> int:
        """Score and print; return the exit code."""
        from functools import partial

        from lexiseg.core.atomic_write import refuse_unwritable
        from lexiseg.core.errors import InputError
        from lexiseg.runs.bulk.forkserver import import_for
        from lexiseg.runs.bulk.predict import PredictJob, predicting
        from lexiseg.runs.load import load
        from lexiseg.runs.method_settings import parse_changes
        from lexiseg.scoring.evaluate import evaluate
        from lexiseg.scoring.report import write_json
        from lexiseg.scoring.tables import print_report

        dataset = self.images.open(needs_labels=True)
        if self.json is not None:
            refuse_unwritable(self.json)
        workers = self.bulk.chosen()
        import_for(PredictJob, workers)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        self.images.refuse_trained_on(segmenter, dataset)
        changes = self.inference.changes()
        refine = segmenter.settings.changed(**changes).refine
        if self.unrefined and refine == "none":
            raise InputError(
                doing="scoring with and without refinement",
                found="--unrefined with --refine none",
                expected="a refinement to compare with, such as --refine crf",
                fix="Give one, or leave out --unrefined.",
            )
        predict_all = predicting(
            partial(load, self.model, method_settings=parse_changes(self.set_), trust=self.trust),
            self.device,
            workers,
            segmenter=segmenter,
            seconds=self.bulk.time_limit,
        )
        with progress("evaluating", len(dataset) * (1 + self.unrefined)) as advance:
            how: dict[str, Any] = {"partial": True, "advance": advance, "predict_all": predict_all}
            report = evaluate(segmenter, dataset, **how, **changes)
            plain = None
            if self.unrefined:
                unrefined = {**changes, "refine": "none"}
                plain = evaluate(segmenter, dataset, **how, **unrefined)
        console = open_console(highlight=False)
        print_report(report, console)
        if plain is not None:
            for name, scores in ((refine, report.scores), ("none", plain.scores)):
                console.print(f"mean_iou with --refine {name}: {100 * scores.mean_iou:.2f} %")
        if self.json is not None:
            content = report.as_json()
            if plain is not None:
                content["unrefined"] = plain.as_json()
            write_json(content, self.json)
        return 1 if report.store.failed and not self.partial else 0
