"""Read label maps out of MATLAB files: run as a script, in a process of its own with limits.

SciPy and HDF5 die of damaged files by a signal, hang, or ask for gigabytes; then this process ends and the one that asked
goes on. It imports nothing of ours, answers one request a line, and ends with its standard input.

A request is JSON: ``path``, ``variable``, ``task`` (``labels`` or ``count``). The answer is a line of JSON, with ``height`` and
``width`` and then the labels as little-endian uint16, or ``count``, or ``missing``, or ``found`` and ``expected``.
"""

import json
import math
import sys
from typing import Any

import numpy as np

#: Addresses the process may use. A label map of the largest size takes a third of it while it is read.
_MOST_BYTES = 4 << 30
#: As of images: a guard against files made to exhaust memory.
_MOST_PIXELS = 178_956_970
#: Filters of HDF5 itself: deflate, shuffle, fletcher32. Others are programs that it would load.
_FILTERS = (1, 2, 3)
#: Deflate makes at most so many bytes of one.
_MOST_BYTES_OF_ONE = 1032
_WHOLE = "height × width whole numbers from 0 to 65535"


class RefusedError(Exception):
    """A file cannot be used: what was found, and what was expected."""


def answer(request: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    """Do what was asked; return the first line of the answer and what follows it."""
    path, variable = request["path"], request["variable"]
    with open(path, "rb") as file:
        is_hdf5 = file.read(10) == b"MATLAB 7.3"
    try:
        if request["task"] == "count":
            count = count_hdf5(path, variable) if is_hdf5 else count_older(path, variable)
            return ({"missing": True} if count is None else {"count": count}), b""
        values = read_hdf5(path, variable) if is_hdf5 else read_older(path, variable)
        if values is None:
            return {"missing": True}, b""
        labels = checked(values, variable)
    except RefusedError as error:
        return dict(zip(("found", "expected"), error.args, strict=True)), b""
    except MemoryError:
        return {"found": "data that asks for more memory than a label map needs", "expected": _WHOLE}, b""
    except Exception as error:  # damage leads to whatever it leads to
        kind = "a MATLAB 7.3 file" if is_hdf5 else "a MATLAB file of version 5 to 7.3"
        what = "a damaged HDF5 file" if is_hdf5 else "a damaged or unknown file"
        return {"found": f"{what} ({error or type(error).__name__})", "expected": kind}, b""
    return {"height": labels.shape[0], "width": labels.shape[1]}, labels.tobytes()


def checked(values: Any, variable: str) -> np.ndarray:
    """Return a label map as uint16 where the values are one: nothing is rounded or cut."""
    described = f"{variable} of type {values.dtype} and shape {values.shape}"
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not values.size:
        raise RefusedError(described, _WHOLE)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise RefusedError(f"{described} with NaN or infinity", _WHOLE)
        if (values != np.floor(values)).any():
            raise RefusedError(f"{described} with fractions", _WHOLE)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise RefusedError(f"{described} with values from {low} to {high}", _WHOLE)
    return np.ascontiguousarray(values, dtype="<u2")


def refuse_large(shape: tuple[int, ...], variable: str) -> None:
    """Refuse by the declared shape, before anything is read."""
    if math.prod(shape) > _MOST_PIXELS:
        raise RefusedError(f"{variable} of shape {shape}", f"at most {_MOST_PIXELS:,} pixels")


def read_older(path: str, variable: str) -> np.ndarray | None:
    """Read a variable of versions 4 to 7; None where there is none."""
    from scipy.io import loadmat, whosmat

    shapes = {name: shape for name, shape, _ in whosmat(path)}
    if variable not in shapes:
        return None
    refuse_large(shapes[variable], variable)
    value = loadmat(path, variable_names=[variable])[variable]
    if variable == "GTcls":
        value = value[0, 0]["Segmentation"]
    return np.asarray(value)


def count_older(path: str, variable: str) -> int | None:
    """Count the entries of a variable of versions 4 to 7; None where there is none."""
    from scipy.io import whosmat

    shapes = {name: shape for name, shape, _ in whosmat(path)}
    return math.prod(shapes[variable]) if variable in shapes else None


def read_hdf5(path: str, variable: str) -> np.ndarray | None:
    """Read a variable of version 7.3; None where there is none."""
    import h5py

    with h5py.File(path, "r") as file:
        dataset = hdf5_dataset(file, variable)
        if dataset is None:
            return None
        if dataset.external or dataset.is_virtual:
            raise RefusedError(f"{variable}, whose data is in other files", "the data in the file itself")
        plan = dataset.id.get_create_plist()
        filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
        if other := [number for number in filters if number not in _FILTERS]:
            raise RefusedError(
                f"{variable} packed by the HDF5 filter {other[0]}", "deflate, as MATLAB writes it"
            )
        if dataset.dtype.kind not in "biuf" or dataset.ndim != 2:
            raise RefusedError(f"{variable} of type {dataset.dtype} and shape {dataset.shape}", _WHOLE)
        stored = dataset.id.get_storage_size()
        if dataset.size * dataset.dtype.itemsize > stored * _MOST_BYTES_OF_ONE:
            raise RefusedError(
                f"{stored:,} bytes for {variable} of shape {dataset.shape}", "the pixels themselves"
            )
        return np.asarray(dataset[()]).T  # HDF5 keeps MATLAB's columns as rows


def count_hdf5(path: str, variable: str) -> int | None:
    """Count the entries of a variable of version 7.3 by its shape; None where there is none."""
    import h5py

    with h5py.File(path, "r") as file:
        dataset = hdf5_dataset(file, variable)
        return None if dataset is None else int(dataset.size)


def hdf5_dataset(file: Any, variable: str) -> Any:
    """Return a data set of the file itself; None where there is none."""
    import h5py

    link = file.get(variable, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise RefusedError(f"{variable} as a link to elsewhere", "the data in the file itself")
    dataset = file[variable]
    if not isinstance(dataset, h5py.Dataset):
        raise RefusedError(f"{variable} as a {type(dataset).__name__}", "an array of numbers")
    refuse_large(dataset.shape or (), variable)
    return dataset


def limit_memory() -> None:
    """Let the process have so much memory and no more, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = _MOST_BYTES if most == resource.RLIM_INFINITY else min(_MOST_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer requests until there are no more."""
    limit_memory()
    for line in sys.stdin.buffer:
        head, body = answer(json.loads(line))
        sys.stdout.buffer.write(json.dumps(head, default=str).encode("ascii") + b"\n" + body)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
