"""``lexiseg predict``: segment a data set once, into a store that can be counted many ways."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.data_options import DataOptions
from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.cli.options import Device, Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.cli.progress import progress
from lexiseg.cli.worker_options import BulkOptions
from lexiseg.core.errors import InputError
from lexiseg.core.whole_numbers import whole_number


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Segment a data set into a predictions store.

    Label maps are kept exactly, with the true ones beside them, and the best scores of every grid
    point. The same command run again goes on where it stopped, also after a kill. Images that cannot be read are
    left out and listed at the end, and the exit code is 1.

    Tar and Parquet shards hold no true labels to score with: lexiseg segment reads those.
    """

    model: tyro.conf.Positional[ModelName]
    images: DataOptions
    out: Annotated[Path, tyro.conf.arg(metavar="STORE", help="Folder of the store.")]
    protocol: Annotated[
        str | None,
        option("NAME", "Take names and settings of a published protocol; options given here come on top."),
    ] = None
    top: Annotated[
        int, tyro.conf.arg(metavar="K", help="Classes whose scores are kept at every grid point; 0 for none.")
    ] = 5
    shard: Annotated[
        str,
        tyro.conf.arg(
            metavar="I/N",
            help="Do every N-th image from the I-th (counted from 0), beside processes of other machines that share no Ray.",
        ),
    ] = "0/1"
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"
    bulk: BulkOptions = field(default_factory=BulkOptions)
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def run(self) -> int:
        """Predict and say what is there; return the exit code."""
        from functools import partial

        from lexiseg.runs.bulk.forkserver import import_for
        from lexiseg.runs.bulk.predict import PredictJob, predicting
        from lexiseg.runs.load import load
        from lexiseg.runs.method_settings import parse_changes
        from lexiseg.scoring.published import find_protocol
        from lexiseg.scoring.store.predict import predict_into
        from lexiseg.scoring.store.store import PredictionStore

        number, of = _shard(self.shard)
        workers = self.bulk.chosen()
        protocol = None if self.protocol is None else find_protocol(self.protocol)
        dataset = self.images.open(needs_labels=False)
        import_for(PredictJob, workers)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        with progress("predicting", len(range(number, len(dataset), of))) as advance:
            num_new = predict_into(
                segmenter,
                dataset,
                self.out,
                protocol=protocol,
                top=self.top,
                shard=(number, of),
                advance=advance,
                predict_all=predicting(
                    partial(load, self.model, method_settings=parse_changes(self.set_), trust=self.trust),
                    self.device,
                    workers,
                    segmenter=segmenter,
                    seconds=self.bulk.time_limit,
                    states_in=self.out,
                ),
                **self.inference.changes(),
            )
        store = PredictionStore(self.out)
        total = len(store.manifest.stems)
        print(f"{num_new:,} predicted now, {len(store):,} of {total:,} images in {self.out}")
        if store.manifest.trained_on:
            from lexiseg.data.trained_on import trained_on_note

            print(f"note: {trained_on_note(store.manifest.trained_on, total)}", file=sys.stderr)
        if store.failed:
            print(f"{len(store.failed):,} failed; the same command tries them again:", file=sys.stderr)
            for stem, why in store.failed.items():
                print(f"  failed: {stem}: {why}", file=sys.stderr)
        left_out = " --partial" if store.failed else ""
        print(f"next: lexiseg score {self.out} --protocol mmseg present-only boundary{left_out}")
        return 1 if store.failed else 0


def _shard(text: str) -> tuple[int, int]:
    number, of = (whole_number(part) for part in text.partition("/")[::2])
    if number is not None and of is not None and number < of:
        return number, of
    raise InputError(
        doing="reading --shard",
        found=repr(text),
        expected="I/N with I from 0 to N - 1, such as 0/4",
        fix="Give each of N processes its own I and the same N.",
    )
