"""The log of a run: a line of JSON a logged step, times beside it, TensorBoard where it is installed."""

import importlib.util
import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import CheckpointError, OutputError
from lexiseg.core.json_text import decode_json
from lexiseg.engine.trackers import open_trackers
from lexiseg.engine.watch import StepValues

LOG, TIMING, TENSORBOARD = "log.jsonl", "timing.jsonl", "tensorboard"


class RunLog:
    """Writes ``log.jsonl``, which is the same however often a run was stopped, and ``timing.jsonl``, which is not.

    Args:
        folder: The run's.
        after_step: Step that the run goes on from; later lines of an earlier attempt are cut off.
        trackers: Services that get every line too; a run that goes on is a new one there.

    Raises:
        MissingPackageError: accelerate or the package of a service is not installed.
        OutputError: The folder cannot be written, or is full; also by the methods.
    """

    def __init__(self, folder: Path, after_step: int, trackers: Sequence[str] = ()) -> None:
        self._folder = folder
        self._trackers = open_trackers(trackers, folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _cut(folder / LOG, after_step)
            self._log = open(folder / LOG, "a", encoding="utf-8")  # noqa: SIM115
            self._timing = open(folder / TIMING, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise _full(folder, error) from error
        self._board = _open_board(folder / TENSORBOARD, after_step)
        self._last = (time.perf_counter(), after_step)

    def step(self, values: StepValues, numbers: list[float], batch_size: int) -> dict[str, float]:
        """Write the line of a step; return what a progress bar shows."""
        total, *named, grad_norm = numbers
        pairs = list(zip(values.names, named, strict=True))
        terms, observed = dict(pairs[: values.num_terms]), dict(pairs[values.num_terms :])
        line: dict[str, Any] = {"step": values.step, "loss": total, "terms": terms}
        if observed:
            line["observed"] = observed
        line["lr"] = values.lr
        line["grad_norm"] = grad_norm if math.isfinite(grad_norm) else None  # fp16 skipped the step
        self._append(self._log, line)
        now, (then, step) = time.perf_counter(), self._last
        rate = (values.step - step) * batch_size / max(now - then, 1e-9)
        self._last = (now, values.step)
        seconds = {"step": values.step, "time": round(time.time(), 3), "images_per_second": round(rate, 2)}
        self._append(self._timing, seconds)
        self._show(values.step, {"loss": total, **terms, **observed, "lr": values.lr, "grad_norm": grad_norm})
        return {"loss": total, **(terms if len(terms) > 1 else {}), **observed, "images/s": rate}

    def evaluation(self, step: int, scores: Mapping[str, float]) -> None:
        """Write what an evaluation found after a step."""
        self._append(self._log, {"step": step, "evaluation": dict(scores)})
        self._show(step, {f"evaluation/{name}": value for name, value in scores.items()})

    def restart_clock(self, step: int) -> None:
        """Leave what was done since the last line, such as an evaluation, out of the rate."""
        self._last = (time.perf_counter(), step)

    def close(self) -> None:
        """Close the files; a line that a full disk refused is not asked for again."""
        for file in (self._log, self._timing):
            with suppress(OSError):
                file.close()
        if self._board is not None:
            with suppress(OSError):
                self._board.close()
        for tracker in self._trackers:
            tracker.finish()

    def _append(self, file: TextIO, line: Mapping[str, Any]) -> None:
        try:
            file.write(json.dumps(line) + "\n")
            file.flush()  # the process may be killed
        except OSError as error:
            raise _full(self._folder, error) from error

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)
        if self._board is None:
            return
        try:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        except OSError as error:
            raise _full(self._folder, error) from error


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's log; a last line that was not finished is none.

    Raises:
        CheckpointError: There is no log, or a line in it is damaged.
    """
    try:
        lines = (folder / LOG).read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise _damaged(folder, error.strerror or str(error)) from error
    whole = [line for line in lines if line.endswith(b"\n")]
    found = [_parse(line) for line in whole]
    for number, line in enumerate(found, start=1):
        if line is None:
            raise _damaged(folder, f"line {number}, which is no line of a log")
    return [line for line in found if line is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Read a line; None where it is not one that this file writes."""
    try:
        content = decode_json(line)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(content, dict) and type(content.get("step")) is int
    return content if is_ours else None


def _cut(path: Path, after_step: int) -> None:
    """Keep the lines up to a step; a last line that was not finished is none, and a damaged one is dropped."""
    if not path.exists():
        return
    content = path.read_bytes()
    kept, num_damaged = [], 0
    for line in content.splitlines(keepends=True):
        parsed = _parse(line)
        if not line.endswith(b"\n") or (parsed is not None and parsed["step"] > after_step):
            break
        if parsed is not None:
            kept.append(line)
        else:
            num_damaged += 1
    if num_damaged:
        warnings.warn(f"{path} had {num_damaged} damaged lines, which were dropped.", stacklevel=4)
    if b"".join(kept) != content:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(kept))


def _damaged(folder: Path, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"reading the log {folder / LOG}",
        found=found,
        expected="lines of JSON with a step each, as lexiseg train writes them",
        fix="Go on with the run (--resume), which drops the line.",
    )


def _full(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        doing=f"writing the log into {folder}",
        found=error.strerror or str(error),
        expected="a folder that can be written to, with room for the log",
        fix="Free some space, or change the folder's permissions; then go on with --resume.",
    )


def _open_board(folder: Path, after_step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=after_step + 1 if after_step else None)
