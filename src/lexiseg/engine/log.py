"""The log of a run: a line of JSON a logged step, times beside it, TensorBoard where it is installed."""

import importlib.util
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lexiseg.core.json_text import decode_json
from lexiseg.engine.watch import StepValues

LOG, TIMING, TENSORBOARD = "log.jsonl", "timing.jsonl", "tensorboard"


class RunLog:
    """Writes ``log.jsonl``, which is the same however often a run was stopped, and ``timing.jsonl``, which is not.

    Args:
        folder: The run's.
        after_step: Step that the run goes on from; later lines of an earlier attempt are cut off.
    """

    def __init__(self, folder: Path, after_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _cut(folder / LOG, after_step)
        self._log = open(folder / LOG, "a", encoding="utf-8")  # noqa: SIM115
        self._timing = open(folder / TIMING, "a", encoding="utf-8")  # noqa: SIM115
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
        self._write(line)
        now, (then, step) = time.perf_counter(), self._last
        rate = (values.step - step) * batch_size / max(now - then, 1e-9)
        self._last = (now, values.step)
        seconds = {"step": values.step, "time": round(time.time(), 3), "images_per_second": round(rate, 2)}
        self._timing.write(json.dumps(seconds) + "\n")
        self._timing.flush()
        self._show(values.step, {"loss": total, **terms, **observed, "lr": values.lr, "grad_norm": grad_norm})
        return {"loss": total, **(terms if len(terms) > 1 else {}), **observed, "images/s": rate}

    def evaluation(self, step: int, scores: Mapping[str, float]) -> None:
        """Write what an evaluation found after a step."""
        self._write({"step": step, "evaluation": dict(scores)})
        self._show(step, {f"evaluation/{name}": value for name, value in scores.items()})

    def restart_clock(self, step: int) -> None:
        """Leave what was done since the last line, such as an evaluation, out of the rate."""
        self._last = (time.perf_counter(), step)

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self._timing.close()
        if self._board is not None:
            self._board.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()  # the process may be killed

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's log."""
    return [decode_json(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]


def _cut(path: Path, after_step: int) -> None:
    """Keep the lines up to a step; a last line that was not finished is none."""
    if not path.exists():
        return
    kept = bytearray()
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or decode_json(line)["step"] > after_step:
            break
        kept += line
    with open(path, "r+b") as file:
        file.truncate(len(kept))


def _open_board(folder: Path, after_step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=after_step + 1 if after_step else None)
