"""What became of every input of a job, in a file that is only appended to: a run may be killed at any moment.

::

    # {"begun": …, "command": "segment", "total": 3, "workers": 2, "retries": false}
    d<TAB>"photos/a"
    t<TAB>"photos/b"
    f<TAB>"photos/c"<TAB>["photos/c.jpg", "an empty file (0 bytes). Copy it again from its source."]
    # {"ended": …}

``d`` was done, ``t`` was there already, ``f`` failed; the last line of an input counts. Results do not depend on the
file: what is done is known by the results themselves, and without the file only the list of failures is lost.
"""

import json
import math
import os
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lexiseg.core.atomic_write import atomic_path, output_error
from lexiseg.core.errors import DatasetError, OutputError
from lexiseg.core.folder_lock import try_lock
from lexiseg.core.json_text import JsonError, decode_json
from lexiseg.runs.bulk.job import Outcome, State

#: Hidden: the result of no input.
STATES_FILE = ".lexiseg-states"

_LETTERS: Mapping[State, str] = {"done": "d", "there": "t", "failed": "f"}
_DONE, _THERE, _FAILED = (ord(letter) for letter in _LETTERS.values())

#: A file with more lines than this, most of them outdated, is written anew when a run begins.
_WORTH_COMPACTING = 10_000


class Failure(NamedTuple):
    """An input that failed.

    Attributes:
        name: Its own within the job.
        path: Its file, or what else a person finds it by.
        reason: Why.
    """

    name: str
    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class States:
    """What became of the inputs of a job, in all its runs.

    Attributes:
        command: What does them.
        total: Inputs of the last run over all of them, and no fewer than have an outcome: of other runs, of other inputs.
        done: How many are done.
        failures: Those whose last outcome is a failure.
        workers: Of the last run.
        begun: When it began, in seconds since 1970.
        last: When its last outcome was noted.
        counts: Its outcomes, by state.
        has_ended: It came to its end.
        is_running: It is at work now.
    """

    command: str
    total: int
    done: int
    failures: tuple[Failure, ...]
    workers: int
    begun: float
    last: float
    counts: Mapping[State, int]
    has_ended: bool
    is_running: bool

    @property
    def left(self) -> int:
        """Return how many inputs have no outcome yet."""
        return max(0, self.total - self.done - len(self.failures))

    @property
    def a_second(self) -> float | None:
        """Return how many inputs the last run did a second; None where it did none. What was there already costs little."""
        seconds, count = self.last - self.begun, self.counts["done"] + self.counts["failed"]
        return count / seconds if seconds > 0 and count else None


class StateLog:
    """The file of states of a folder, open to be appended to.

    Args:
        path: The file.
        descriptor: Of the open file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        status = os.fstat(descriptor)
        self._identity = status.st_dev, status.st_ino

    def note(self, outcome: Outcome, name: str, path: str) -> None:
        """Note what became of an input.

        Args:
            outcome: What.
            name: The input's own within the job.
            path: What a person finds it by; kept of failures.

        Raises:
            OutputError: The folder is full, or gone: then nothing that is written there would be found.
        """
        parts = [_LETTERS[outcome.state], json.dumps(name)]
        if outcome.state == "failed":
            parts.append(json.dumps([path, outcome.message]))
        self._append("\t".join(parts))

    def head(self, content: Mapping[str, Any]) -> None:
        """Note the beginning or end of a run."""
        self._append(f"# {json.dumps(content)}")

    def _append(self, line: str) -> None:
        try:
            status = os.stat(self._path)
            if (status.st_dev, status.st_ino) != self._identity:
                raise FileNotFoundError
            os.write(self._descriptor, f"{line}\n".encode())
        except FileNotFoundError as error:
            raise OutputError(
                doing=f"writing to {self._path.parent}",
                found="a folder that was removed, or replaced by another, since the run began",
                expected="the same folder to the end",
                fix="Bring it back and run the same command again: it goes on with what is there.",
            ) from error
        except OSError as error:
            raise output_error(self._path, error) from error


@contextmanager
def noting(
    folder: Path, *, command: str, total: int, workers: int, retries: bool = False
) -> Iterator[StateLog]:
    """Open the states of a folder for a run.

    Args:
        folder: Of the results; there already.
        command: What does the inputs.
        total: How many inputs the job has.
        workers: How many workers do them.
        retries: Only those that failed before are done.

    Raises:
        OutputError: The file cannot be written.
    """
    path = folder / STATES_FILE
    descriptor = _open(path)
    try:
        if try_lock(descriptor, path):
            _compact(path)
            os.close(descriptor)
            descriptor = _open(path)
        try_lock(descriptor, path, shared=True)  # what tells that a run is at work
        log = StateLog(path, descriptor)
        begun = {"begun": time.time(), "command": command, "total": total, "workers": workers}
        log.head({**begun, "retries": retries})
        yield log
        log.head({"ended": time.time()})
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise output_error(path, error) from error


def read_states(folder: Path) -> States:
    """Read what became of the inputs of a folder's job.

    Cost: about 2 µs a line, and 24 bytes of memory.

    Raises:
        DatasetError: There is no job's folder.
    """
    path = folder / STATES_FILE
    try:
        lines = _Lines(path)
    except OSError as error:
        raise DatasetError(
            doing=f"looking for a job in {folder}",
            found=f"no {STATES_FILE} there" if folder.is_dir() else "no such folder",
            expected="a folder that lexiseg segment, predict or another command for many inputs writes to",
            fix="Name the folder given with --out.",
        ) from error
    last = lines.last_of_each()
    kinds = lines.kinds[last]
    run = lines.kinds[lines.run_start :]
    begun = max(0.0, _number(lines.run, "begun"))
    done = int(((kinds == _DONE) | (kinds == _THERE)).sum())
    failures = tuple(lines.failures(last[kinds == _FAILED]))
    return States(
        command=str(lines.full_run.get("command", "")),
        total=max(int(_number(lines.full_run, "total")), done + len(failures)),
        done=done,
        failures=failures,
        workers=int(_number(lines.run, "workers")) or 1,
        begun=begun,
        last=max(begun, path.stat().st_mtime),
        counts={state: int((run == ord(letter)).sum()) for state, letter in _LETTERS.items()},
        has_ended=lines.has_ended,
        is_running=_is_locked(path),
    )


def _number(head: Mapping[str, Any], name: str) -> float:
    """Return a number of a line that begins a run; 0 where the line is damaged."""
    value = head.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _is_locked(path: Path) -> bool:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return not try_lock(descriptor, path)
        finally:
            os.close(descriptor)
    return False


class _Lines:
    """The lines of a file of states: of each a letter, a hash of the input's name, and where it begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kinds, names, offsets = bytearray(), array("q"), array("Q")
        self.run: dict[str, Any] = {}
        self.full_run: dict[str, Any] = {}
        self.run_start = 0
        self.has_ended = False
        self.full_run_place = 0  # where the header of the last run over all inputs begins
        offset = 0
        with open(path, "rb") as file:
            for line in file:
                if line[:1] in (b"d", b"t", b"f") and line[1:2] == b"\t" and line.endswith(b"\n"):
                    kinds.append(line[0])
                    names.append(hash(line.split(b"\t", 2)[1].rstrip(b"\n")))
                    offsets.append(offset)
                elif line.startswith(b"# "):
                    self._read_head(line, len(kinds), offset)
                offset += len(line)
        self.kinds = np.frombuffer(bytes(kinds), np.uint8)
        self.names = np.frombuffer(names, np.int64) if names else np.empty(0, np.int64)
        self.offsets = np.frombuffer(offsets, np.uint64) if offsets else np.empty(0, np.uint64)

    def _read_head(self, line: bytes, count: int, offset: int) -> None:
        try:
            content = decode_json(line[2:])
        except JsonError:  # half a line, of a run that was killed
            return
        if not isinstance(content, dict):
            return
        if "begun" in content:
            self.run, self.run_start, self.has_ended = content, count, False
            if not content.get("retries"):
                self.full_run, self.full_run_place = content, offset
        elif "ended" in content:
            self.has_ended = True

    def last_of_each(self) -> np.ndarray:
        """Return the index of the last line of every input, ascending."""
        _, places = np.unique(self.names[::-1], return_index=True)
        return np.sort(len(self.names) - 1 - places)

    def failures(self, indices: np.ndarray) -> Iterator[Failure]:
        """Read lines of failures."""
        with open(self._path, "rb") as file:
            for index in indices:
                file.seek(int(self.offsets[index]))
                with suppress(JsonError, ValueError, TypeError):  # a line that was damaged
                    _, name, rest = file.readline().split(b"\t", 2)
                    path, reason = decode_json(rest)
                    yield Failure(str(decode_json(name)), str(path), str(reason))


def _compact(path: Path) -> None:
    """Leave the last line of each input only, where most lines are older; the caller is alone."""
    lines = _Lines(path)
    keep = lines.last_of_each()
    if len(lines.kinds) < max(_WORTH_COMPACTING, 2 * len(keep)):
        return
    with open(path, "rb") as old, atomic_path(path) as temporary, open(temporary, "wb") as new:
        old.seek(lines.full_run_place)
        new.write(old.readline())
        for index in keep:
            old.seek(int(lines.offsets[index]))
            new.write(old.readline())
