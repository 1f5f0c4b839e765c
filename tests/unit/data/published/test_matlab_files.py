"""MATLAB files are read in a process of its own, and nothing in them is rounded, followed or believed."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lexiseg.core.errors import DatasetError
from lexiseg.data.published import matlab_files
from lexiseg.data.published.matlab_files import count_names, read_matlab_labels

savemat = pytest.importorskip("scipy.io").savemat
h5py = pytest.importorskip("h5py")

LABELS = np.arange(12).reshape(3, 4)


def older(**variables: object) -> Callable[[Path], None]:
    return lambda path: savemat(path, variables, do_compression=True)


def newer(fill: Callable[[object], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w", userblock_size=512) as file:
            fill(file)
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file")

    return write


def external(file: object) -> None:
    file["S"] = h5py.ExternalLink("other.mat", "/S")


def soft(file: object) -> None:
    file["T"], file["S"] = h5py.ExternalLink("other.mat", "/S"), h5py.SoftLink("/T")


def raw(file: object) -> None:
    file.create_dataset("S", shape=(2, 3), dtype="u2", external=[("/etc/passwd", 0, 12)])


def virtual(file: object) -> None:
    plan = h5py.VirtualLayout(shape=(2, 3), dtype="u2")
    plan[:] = h5py.VirtualSource("other.mat", "S", shape=(2, 3))
    file.create_virtual_dataset("S", plan)


REFUSED = {
    "fractions": (older(S=LABELS + 0.5), "fractions"),
    "NaN": (older(S=np.full((2, 2), np.nan)), "NaN"),
    "infinity": (older(S=np.full((2, 2), np.inf)), "infinity"),
    "complex": (older(S=LABELS + 1j), "complex128"),
    "negative": (older(S=LABELS - 1), "from -1"),
    "large": (older(S=LABELS + 65530), "to 65541"),
    "text": (older(S="labels"), "type"),
    "cell": (older(S=np.array([1, "a"], object)), "type object"),
    "three axes": (older(S=np.zeros((2, 2, 2))), "shape"),
    "fractions, HDF5": (newer(lambda file: file.create_dataset("S", data=LABELS + 0.5)), "fractions"),
    "complex, HDF5": (newer(lambda file: file.create_dataset("S", data=LABELS + 1j)), "complex128"),
    "link out": (newer(external), "link"),
    "soft link": (newer(soft), "link"),
    "data elsewhere": (newer(raw), "other files"),
    "virtual": (newer(virtual), "other files"),
    "group": (newer(lambda file: file.create_group("S")), "Group"),
    "bomb": (newer(lambda file: file.create_dataset("S", (90_000, 90_000), "f8", chunks=(9, 9))), "shape"),
    "never written": (
        newer(lambda file: file.create_dataset("S", (9_000, 9_000), "f8", chunks=(9, 9))),
        "0 bytes",
    ),
    "no variable": (older(T=LABELS), "no variable S"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_label_map_is_refused(tmp_path, kind):
    write, found = REFUSED[kind]
    write(tmp_path / "a.mat")
    newer(lambda file: file.create_dataset("S", data=LABELS))(tmp_path / "other.mat")
    with pytest.raises(DatasetError) as error:
        read_matlab_labels(tmp_path / "a.mat", "S")
    assert found in error.value.found


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_whole_numbers_of_any_type_are_read(tmp_path, dtype):
    older(S=LABELS.astype(dtype), names=np.array([["a"], ["b"]], object))(tmp_path / "old.mat")
    newer(lambda file: file.create_dataset("S", data=LABELS.T.astype(dtype)))(tmp_path / "new.mat")
    for name in ("old.mat", "new.mat"):
        assert np.array_equal(read_matlab_labels(tmp_path / name, "S"), LABELS)
    assert (count_names(tmp_path / "old.mat"), count_names(tmp_path / "new.mat")) == (2, None)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_reader_that_dies_or_hangs_is_an_error_and_the_next_file_is_read(tmp_path, monkeypatch):
    older(S=LABELS)(tmp_path / "a.mat")
    read_matlab_labels(tmp_path / "a.mat", "S")
    process = matlab_files._WORKER._process
    process.send_signal(signal.SIGSTOP)  # hangs
    monkeypatch.setattr(matlab_files, "_MOST_SECONDS", 0.2)
    with pytest.raises(DatasetError, match=r"had not read after 0\.2 s"):
        read_matlab_labels(tmp_path / "a.mat", "S")
    monkeypatch.setattr(matlab_files, "_MOST_SECONDS", 60.0)
    assert np.array_equal(read_matlab_labels(tmp_path / "a.mat", "S"), LABELS)
    matlab_files._WORKER._process.send_signal(signal.SIGSEGV)
    matlab_files._WORKER._process.wait()
    with pytest.raises(DatasetError, match="SIGSEGV"):
        read_matlab_labels(tmp_path / "a.mat", "S")
    assert np.array_equal(read_matlab_labels(tmp_path / "a.mat", "S"), LABELS)
