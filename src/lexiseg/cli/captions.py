"""``lexiseg captions``: look through images with captions, and pack them into shards."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.caption_maps import CaptionMaps
from lexiseg.cli.caption_options import PATHS, CaptionFileOptions
from lexiseg.cli.options import option
from lexiseg.cli.progress import progress
from lexiseg.cli.worker_options import WorkerOptions
from lexiseg.core.errors import InputError
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from lexiseg.data.captions.check import CaptionCheck
    from lexiseg.data.captions.records import CaptionSource, InvalidRecord

CHECK_FAILED = 1


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(CaptionFileOptions):
    """What the parts of a record are called."""

    def open(self, paths: tuple[str, ...]) -> "CaptionSource":
        """Open the records, and print what a person should know of them."""
        from lexiseg.data.captions.opening import open_caption_source

        source = open_caption_source(paths, columns=self.columns(), split=self.split)
        for note in source.notes:
            print(f"note: {note}", file=sys.stderr)
        return source


@dataclass(frozen=True, kw_only=True)
class CheckCaptions(CaptionOptions):
    """Read every record: broken ones, repeats, lengths of captions, sizes of images, common words.

    Exits with 1 when a record is broken.
    """

    paths: tyro.conf.Positional[Annotated[tuple[str, ...], PATHS]]
    invalid_log: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="FILE",
            help="Write invalid records here: a JSON line each, with shard, key and reason.",
            help_behavior_hint="",
            aliases=("--ledger",),
        ),
    ] = None
    json_: Annotated[
        Path | None,
        tyro.conf.arg(
            name="json", metavar="FILE", help="Write all numbers here as JSON.", help_behavior_hint=""
        ),
    ] = None
    workers: Annotated[int | None, option("N", "Threads; one a core if left out.")] = None

    def _refuse_bad_options(self) -> None:
        _refuse_no_paths(self.paths)
        if self.workers is not None and self.workers < 1:
            raise InputError(
                doing="checking captions",
                found=f"--workers {self.workers}",
                expected="1 or more",
                fix="Leave it out for one a core.",
            )

    def run(self) -> int:
        """Check and print; return the exit code."""
        from lexiseg.core.atomic_write import atomic_path, refuse_unwritable
        from lexiseg.data.captions.check import check_captions
        from lexiseg.data.captions.invalid_records import write_invalid_records

        self._refuse_bad_options()
        for file in (self.invalid_log, self.json_):
            if file is not None:
                refuse_unwritable(file)
        source = self.open(self.paths)
        with progress("reading records", len(source)) as advance:
            check = check_captions(source, workers=self.workers, advance=advance)
        _print(check)
        if self.invalid_log is not None:
            write_invalid_records(check.broken, self.invalid_log)
        if self.json_ is not None:
            with atomic_path(self.json_) as temporary:
                temporary.write_text(json.dumps(check.as_dict(), indent=1) + "\n", encoding="utf-8")
        return 0 if check.is_good else CHECK_FAILED


@dataclass(frozen=True, kw_only=True)
class PackCaptions(CaptionOptions):
    """Write records to tar shards that webdataset reads too, broken ones left out and listed.

    Images are copied as they are. The folder appears when it is complete.
    """

    paths: tyro.conf.Positional[Annotated[tuple[str, ...], PATHS]]
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="Where the shards go; must not exist yet.")]
    shard_mb: Annotated[int, tyro.conf.arg(metavar="MB", help="Size of a shard in megabytes.")] = 100
    invalid_log: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="FILE",
            help="Write what was left out here: a JSON line each.",
            help_behavior_hint="",
            aliases=("--ledger",),
        ),
    ] = None
    bulk: WorkerOptions = field(default_factory=WorkerOptions)

    def _refuse_bad_options(self) -> None:
        _refuse_no_paths(self.paths)
        if self.shard_mb < 1:
            raise InputError(
                doing="packing captions",
                found=f"--shard-mb {self.shard_mb}",
                expected="1 or more",
                fix="100 is a good size.",
            )

    def run(self) -> int:
        """Pack; return the exit code."""
        from lexiseg.core.atomic_write import refuse_unwritable
        from lexiseg.data.captions.invalid_records import write_invalid_records
        from lexiseg.data.captions.pack import pack_captions
        from lexiseg.runs.bulk.each import mapper

        self._refuse_bad_options()
        if self.invalid_log is not None:
            refuse_unwritable(self.invalid_log)
        source = self.open(self.paths)
        with progress("packing", len(source)) as advance:
            packed = pack_captions(
                source,
                self.out,
                shard_bytes=self.shard_mb * 1_000_000,
                advance=advance,
                apply=mapper("packing", self.bulk.chosen()),
            )
        if self.invalid_log is not None:
            write_invalid_records(packed.broken, self.invalid_log)
        print(f"{packed.num_records:,} records in {packed.num_shards:,} shards written to {self.out}")
        if packed.broken:
            print(f"{len(packed.broken):,} broken records left out:", file=sys.stderr)
            _print_broken(packed.broken, sys.stderr)
        return 0


@dataclass(frozen=True, kw_only=True)
class Captions:
    """Check images with captions, pack them into tar shards, and draw where a model sees what they say."""

    action: (
        Annotated[CheckCaptions, tyro.conf.subcommand("check", prefix_name=False)]
        | Annotated[PackCaptions, tyro.conf.subcommand("pack", prefix_name=False)]
        | Annotated[CaptionMaps, tyro.conf.subcommand("maps", prefix_name=False)]
    ) = field()

    def run(self) -> int:
        """Run the action; return the exit code."""
        return self.action.run()


def _refuse_no_paths(paths: tuple[str, ...]) -> None:
    if not paths:
        raise InputError(
            doing="opening captions",
            found="no path",
            expected="one or more",
            fix="Name the data: lexiseg captions check shards/",
        )


def _print(check: "CaptionCheck") -> None:
    from rich.table import Table

    table = Table(highlight=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    shards = {"tar": "shards", "parquet": "row groups"}.get(check.kind)
    where = f" in {check.num_shards:,} {shards}" if shards else ""
    table.add_row("images", f"{check.num_images:,}{where}, {check.image_bytes / 1e6:,.1f} MB")
    table.add_row("captions", f"{check.num_captions:,}")
    table.add_row("same image again", _count(check.repeated_images, check.num_images))
    table.add_row("same caption again", _count(check.repeated_captions, check.num_captions))
    for name, values in (("words", check.words), ("height", check.heights), ("width", check.widths)):
        if values:
            spread = f"median {values['50']:g}, 5–95 %: {values['5']:g}–{values['95']:g}, "
            table.add_row(name, f"{spread}all: {values['0']:g}–{values['100']:g}")
    table.add_row("one word", f"{check.one_word:.1%} of captions")
    table.add_row("cut off", f"about {check.long:.1%} of captions have more than 25 word pieces")
    if check.common:
        table.add_row("common words", ", ".join(f"{word} {share:.0%}" for word, share in check.common))
    open_console().print(table)
    if check.broken:
        print(f"{len(check.broken):,} broken:")
        _print_broken(check.broken, sys.stdout)
    else:
        print("nothing broken")


def _print_broken(broken: "list[InvalidRecord]", stream: object) -> None:
    """Print counts by reason, with the first few of each."""
    from lexiseg.data.folder_lists import first_of

    by_reason: dict[str, list[str]] = {}
    for record in broken:
        name = f"{record.shard}#{record.key}" if record.key else record.shard
        by_reason.setdefault(record.reason.value, []).append(name)
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        print(f"  {len(names):>8,} {reason}: {first_of(names)}", file=stream)  # type: ignore[call-overload]


def _count(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})" if count else "none"
