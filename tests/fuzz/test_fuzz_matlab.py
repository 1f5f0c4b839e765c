"""MATLAB files that were damaged: labels, or an error of ours, though SciPy and HDF5 die and hang."""

from pathlib import Path

import numpy as np
import pytest

from lexiseg.data.published.matlab_files import count_names, read_matlab_labels
from mutations import fuzz

savemat = pytest.importorskip("scipy.io").savemat
h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.usefixtures("without_type_checker")


def seeds(folder: Path) -> list[bytes]:
    labels = np.random.default_rng(0).integers(0, 20, (24, 16)).astype(np.uint8)
    savemat(folder / "a.mat", {"S": labels, "names": np.array([["a"], ["b"]], object)}, do_compression=True)
    savemat(folder / "b.mat", {"S": labels.astype(float)})
    with h5py.File(folder / "c.mat", "w", userblock_size=512) as file:
        file.create_dataset("S", data=labels, compression="gzip", fletcher32=True)
    with (folder / "c.mat").open("r+b") as opened:
        opened.write(b"MATLAB 7.3 MAT-file")
    return [(folder / name).read_bytes() for name in ("a.mat", "b.mat", "c.mat")]


def test_matlab_files(tmp_path):
    path = tmp_path / "x.mat"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        labels = read_matlab_labels(path, "S")
        assert labels.dtype == np.uint16
        assert labels.ndim == 2
        assert (count_names(path) or 0) >= 0

    assert fuzz("matlab", seeds(tmp_path), read, examples=60)
