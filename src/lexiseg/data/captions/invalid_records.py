"""The log of invalid records that many processes write and that outlives them.

A log is a folder. Every process appends lines to a file of its own, so that no two writes can
mix, also on network disks; reading merges the files. A record is written once by a process, and not at
all where an earlier run wrote it. A line is ``{"shard": …, "key": …, "reason": …, "detail": …}``.
"""

import json
import os
import socket
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from lexiseg.core.atomic_write import atomic_path, output_error, refuse_unwritable
from lexiseg.core.cache_folder import NoCacheFolderError, default_cache, make_private
from lexiseg.core.errors import OutputError
from lexiseg.core.json_text import decode_json
from lexiseg.data.captions.records import CaptionSource, InvalidReason, InvalidRecord


class InvalidRecordLog:
    """Writes broken records down, from any process.

    Args:
        folder: Made where it is missing.

    Raises:
        OutputError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        refuse_unwritable(folder / "part.jsonl")
        self._known = {_identity(record) for record in read_invalid_records(folder)}

    @property
    def has_any(self) -> bool:
        """Whether anything is written down."""
        return bool(self._known)

    def add(self, records: Iterable[InvalidRecord]) -> int:
        """Write records down that are not there yet; return how many."""
        new = list({_identity(r): r for r in records if _identity(r) not in self._known}.values())
        if not new:
            return 0
        self._known.update(map(_identity, new))
        # a process may have the number of one before it, or of one on another machine: appending keeps both
        file = self.folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        lines = "".join(f"{_line(record)}\n" for record in new).encode()
        try:
            with file.open("ab", buffering=0) as content:
                content.write(lines)
        except OSError as error:
            raise output_error(file, error) from error
        return len(new)


def warn_of(record: InvalidRecord, folder: Path) -> None:
    """Warn of the first record that cannot be used, and say where all are listed."""
    name = f"{record.shard}#{record.key}" if record.key else record.shard
    warnings.warn(
        f"a record cannot be used and is left out: {name} ({record.reason}). "
        f"This one and any others are listed in {folder}",
        stacklevel=3,
    )


def default_log(source: CaptionSource) -> Path:
    """Return a folder in the cache for a log of some data, or a temporary one where the cache cannot be written; it is made."""
    try:
        folder = default_cache() / "broken-records"
        make_private(folder)
        refuse_unwritable(folder / "part.jsonl")
    except (OutputError, NoCacheFolderError):
        folder = Path(tempfile.mkdtemp(prefix="lexiseg-broken-records-"))
    return folder / source.fingerprint()[:16]


def read_invalid_records(path: Path) -> list[InvalidRecord]:
    """Read a log, or one file of it: sorted, each record and reason once.

    A last line that a killed process left unfinished is passed over: its record is met again.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path] if path.is_file() else []
    records: dict[tuple[str, str, str], InvalidRecord] = {}
    for file in files:
        for line in file.read_bytes().split(b"\n"):
            try:
                entry = decode_json(line)
                record = InvalidRecord(
                    entry["shard"], entry["key"], InvalidReason(entry["reason"]), entry["detail"]
                )
                records.setdefault(_identity(record), record)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return [records[identity] for identity in sorted(records)]


def write_invalid_records(records: Sequence[InvalidRecord], file: Path) -> None:
    """Write records to one file, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_path(file) as temporary:
        temporary.write_text("".join(f"{_line(record)}\n" for record in records), encoding="utf-8")


def _identity(record: InvalidRecord) -> tuple[str, str, str]:
    return record.shard, record.key, record.reason.value  # details may differ between processes


def _line(record: InvalidRecord) -> str:
    return json.dumps(asdict(record))
