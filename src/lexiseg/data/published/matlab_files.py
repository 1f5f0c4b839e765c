"""Read label maps out of MATLAB files: COCO-Stuff 10k (``S``), Context (``LabelMap``), SBD (``GTcls``).

Two containers share the suffix .mat: versions 5 to 7, which SciPy reads, and 7.3, which is HDF5, holds
arrays transposed and needs h5py.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.errors import DatasetError

_HDF5 = b"MATLAB 7.3"


def read_matlab_labels(path: Path, variable: str) -> UInt16[np.ndarray, "H W"]:
    """Read a label map.

    Args:
        path: The .mat file, of any version.
        variable: Its name; of the structure ``GTcls`` the field ``Segmentation`` is taken.

    Raises:
        DatasetError: The file is damaged, has no such variable, or needs a package that is not installed.
    """
    values = np.asarray(_read(path, variable))
    if (
        values.ndim != 2
        or not np.issubdtype(values.dtype, np.number)
        or values.min() < 0
        or values.max() > 65535
    ):
        found = f"{variable} of type {values.dtype} and shape {values.shape}"
        raise _error(
            path, found, "height × width whole numbers from 0 to 65535", "Copy it again from its source."
        )
    return values.astype(np.uint16)


def count_names(path: Path) -> int | None:
    """Count the entries of the variable ``names``, or None where the file has none.

    Raises:
        DatasetError: The file is damaged, or needs a package that is not installed.
    """
    try:
        names = np.asarray(_read(path, "names"))
    except DatasetError as error:
        if "no variable" in error.found:
            return None
        raise
    return int(names.size)


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


def _read(path: Path, variable: str) -> Any:
    if is_hdf5(path):
        return _read_hdf5(path, variable)
    from scipy.io import loadmat  # heavy, and only these files need it

    try:
        content = loadmat(path, variable_names=[variable])
    except Exception as error:  # SciPy raises whatever the damage leads to
        raise _error(
            path, f"a damaged or unknown file ({error})", "a MATLAB file of version 5 to 7.3",
            "Copy it again from its source.",
        ) from error  # fmt: skip
    if variable not in content:
        raise _missing(path, variable)
    value = content[variable]
    return value[0, 0]["Segmentation"] if variable == "GTcls" else value


def _read_hdf5(path: Path, variable: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise _error(
            path, "a MATLAB 7.3 file, which is HDF5", "the package h5py to read it",
            "Install it: pip install 'lexiseg[hdf5]'. Or save the file in MATLAB with -v7.",
        ) from error  # fmt: skip
    try:
        with h5py.File(path, "r") as file:
            if variable not in file:
                raise _missing(path, variable)
            return np.asarray(file[variable]).T  # HDF5 keeps MATLAB's columns as rows
    except OSError as error:
        raise _error(
            path, f"a damaged HDF5 file ({error})", "a MATLAB 7.3 file", "Copy it again from its source."
        ) from error


def _missing(path: Path, variable: str) -> DatasetError:
    fix = "Check that these are the label files of this data set."
    return _error(path, f"no variable {variable}", f"the label map in a variable {variable}", fix)


def _error(path: Path, found: str, expected: str, fix: str) -> DatasetError:
    return DatasetError(doing=f"reading the label file {path}", found=found, expected=expected, fix=fix)
