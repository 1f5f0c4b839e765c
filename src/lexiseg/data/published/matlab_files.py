"""Read label maps out of MATLAB files: COCO-Stuff 10k (``S``), Context (``LabelMap``), SBD (``GTcls``).

Two containers share the suffix .mat: versions 5 to 7, which SciPy reads, and 7.3, which is HDF5, holds arrays
transposed and needs h5py. Both readers die of damaged files, so they work in a process of their own
(``matlab_worker``), which is kept for the next file, has a limit of memory, and is ended when it takes too long.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.errors import DatasetError
from lexiseg.core.json_text import JsonError, decode_json

_HDF5 = b"MATLAB 7.3"
#: Of one file; the largest published ones take a tenth of a second.
_MOST_SECONDS = 60.0


def read_matlab_labels(path: Path, variable: str) -> UInt16[np.ndarray, "H W"]:
    """Read a label map.

    Args:
        path: The .mat file, of any version.
        variable: Its name; of the structure ``GTcls`` the field ``Segmentation`` is taken.

    Raises:
        DatasetError: The file is damaged, has no such variable, or needs a package that is not installed; the values
            are no whole numbers from 0 to 65535; its data is in another file.
    """
    head, body = _asked(path, variable, "labels")
    if "missing" in head:
        fix = "Check that these are the label files of this data set."
        raise _error(path, f"no variable {variable}", f"the label map in a variable {variable}", fix)
    return np.frombuffer(body, "<u2").reshape(head["height"], head["width"]).astype(np.uint16)


def count_names(path: Path) -> int | None:
    """Count the entries of the variable ``names``, or None where the file has none.

    Raises:
        DatasetError: The file is damaged, or needs a package that is not installed.
    """
    count: int | None = _asked(path, "names", "count")[0].get("count")
    return count


def is_hdf5(path: Path) -> bool:
    """Return whether a file is MATLAB 7.3, which is HDF5, and not an older one.

    Raises:
        DatasetError: The file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except OSError as error:
        raise _error(path, error.strerror or str(error), "a .mat file", "Check the path.") from error


def _asked(path: Path, variable: str, task: str) -> tuple[dict[str, Any], bytes]:
    if is_hdf5(path) and importlib.util.find_spec("h5py") is None:
        raise _error(
            path, "a MATLAB 7.3 file, which is HDF5", "the package h5py to read it",
            "Install it: pip install 'lexiseg[hdf5]'. Or save the file in MATLAB with -v7.",
        )  # fmt: skip
    request = {"path": os.path.abspath(path), "variable": variable, "task": task}
    try:
        head, body = _WORKER.ask(request)
    except EOFError as error:
        raise _error(
            path, f"data that its reader {error}", "a MATLAB file of version 5 to 7.3",
            "Copy it again from its source.",
        ) from error  # fmt: skip
    if "found" in head:
        raise _error(path, head["found"], head["expected"], "Copy it again from its source.")
    return head, body


class _Worker:
    """The process that reads, started when it is first needed and again after it has ended."""

    _process: "subprocess.Popen[bytes] | None"

    def __init__(self) -> None:
        self._forget()

    def ask(self, request: dict[str, str]) -> tuple[dict[str, Any], bytes]:
        """Return the answer to a request.

        Raises:
            EOFError: The process ended over it; the message says how.
        """
        if self._pid != os.getpid():  # a fork shares the process, and perhaps a held lock, with its parent
            self._forget()
        with self._lock:
            process = self._process or self._started()
            self._process = None  # unless all goes well
            late = threading.Event()

            def stop() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(_MOST_SECONDS, stop)
            timer.start()
            try:
                answer = self._exchange(process, request)
            except (OSError, EOFError, JsonError, KeyError, TypeError, ValueError) as error:
                process.kill()
                code = process.wait()
                if late.is_set():
                    raise EOFError(f"had not read after {_MOST_SECONDS:g} s") from error
                raise EOFError(f"died of ({_name_of_end(code)})") from error
            except BaseException:
                process.kill()
                raise
            finally:
                timer.cancel()
            self._process = process
            return answer

    @staticmethod
    def _exchange(
        process: "subprocess.Popen[bytes]", request: dict[str, str]
    ) -> tuple[dict[str, Any], bytes]:
        assert process.stdin is not None, "a pipe"
        assert process.stdout is not None, "a pipe"
        process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        head: dict[str, Any] = decode_json(line)
        size = 2 * head["height"] * head["width"] if "height" in head else 0
        body = process.stdout.read(size)
        if len(body) < size:
            raise EOFError
        return head, body

    @staticmethod
    def _started() -> "subprocess.Popen[bytes]":
        # -P: modules are never looked for beside the script or in the present folder.
        command = [sys.executable, "-P", str(Path(__file__).with_name("matlab_worker.py"))]
        alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **alone},
        )

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._process = None


def _name_of_end(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


_WORKER = _Worker()


def _error(path: Path, found: str, expected: str, fix: str) -> DatasetError:
    return DatasetError(doing=f"reading the label file {path}", found=found, expected=expected, fix=fix)
