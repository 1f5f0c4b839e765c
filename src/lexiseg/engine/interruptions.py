"""When a run has to write a checkpoint beside those of the steps: a signal asks it to end, or time has passed."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

import torch
from torch import distributed

from lexiseg.engine.devices import Devices

#: What schedulers send before they take a machine away.
SIGNALS = ("SIGTERM", "SIGUSR1")


class Due(NamedTuple):
    """What is to be done after a step."""

    stop: bool
    save: bool


class Interruptions:
    """Notes signals, and the time since the last checkpoint.

    Args:
        devices: Several processes decide together.
        minutes: Between checkpoints; None leaves time out.
    """

    def __init__(self, devices: Devices, minutes: float | None) -> None:
        self._devices, self._minutes = devices, minutes
        self._signal: str | None = None
        self.saved()

    def saved(self) -> None:
        """Begin to count the time anew."""
        self._since = time.monotonic()

    def due(self, *, together: bool) -> Due:
        """Return what is due.

        Args:
            together: Several processes ask each other, for which they wait: only where they wait anyway. Alone, a
                process always answers.
        """
        waited = self._minutes is not None and time.monotonic() - self._since >= 60 * self._minutes
        if self._devices.world_size == 1:
            return Due(self._signal is not None, waited)
        if not together:
            return Due(False, False)
        wishes = torch.tensor(
            [self._signal is not None, waited], dtype=torch.int32, device=self._devices.device
        )
        distributed.all_reduce(wishes, op=distributed.ReduceOp.MAX)
        stop, save = wishes.tolist()
        return Due(bool(stop), bool(save))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals instead of dying of them; only in the main thread, where Python lets one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        before = {number: signal.signal(number, self._note) for number in known}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name
