"""Pieces of many files: opened when they are asked for, and again in every process."""

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

_MAX_OPEN = 64


class ShardFiles:
    """Files that are opened when a piece of them is asked for; the last ones stay open."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, IO[bytes]] = OrderedDict()
        self._forget()

    def read(self, path: Path, start: int, length: int) -> bytes:
        """Read ``length`` bytes; fewer where the file is shorter.

        Raises:
            OSError: The file cannot be read.
        """
        if self._process != os.getpid():  # a fork shares the place in the file with its parent
            self._forget()
        with self._lock:
            file = self._open.pop(path, None) or open(path, "rb", buffering=0)  # noqa: SIM115
            self._open[path] = file
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            file.seek(start)
            return _read_fully(file, length)

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        while self._open:
            self._open.popitem()[1].close()

    def __del__(self) -> None:
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]


def _read_fully(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    while len(data) < length and (more := file.read(length - len(data))):
        data += more
    return data
