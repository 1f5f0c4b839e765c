from pathlib import Path

import numpy as np
import pytest

from lexiseg.core.errors import CheckpointError
from lexiseg.models.onnx_tensors import read_onnx_tensors
from tiny_onnx import block, model, number, tensor, varint

TENSORS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "onnx::MatMul_7": np.full((4, 1, 2), -1.5, np.float32),
    "scalar": np.float32(3).reshape(()),
    "long": np.linspace(0, 1, 300, dtype=np.float32),
}
NODES = {"/layer.0/query/MatMul": ["x", "onnx::MatMul_7"], "/layer.0/Add": ["weight", "", "x"]}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def graph(*tensors: bytes) -> bytes:
    return block(7, b"".join(block(5, each) for each in tensors))


def test_tensors_and_what_takes_them_are_read(tmp_path):
    read = read_onnx_tensors(write(tmp_path, model(TENSORS, NODES)))
    assert read.tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(read.tensors[name], expected, strict=True)
    assert read.inputs == {name: tuple(inputs) for name, inputs in NODES.items()}


def test_sides_are_read_one_by_one_or_packed(tmp_path):
    content = graph(tensor("weight", TENSORS["weight"], packed=True))
    np.testing.assert_array_equal(
        read_onnx_tensors(write(tmp_path, content)).tensors["weight"], TENSORS["weight"]
    )


def test_fields_of_other_kinds_are_passed_over(tmp_path):
    fixed = varint(20 << 3 | 5) + b"1234" + varint(21 << 3 | 1) + b"12345678"
    content = fixed + graph(tensor("weight", TENSORS["weight"]) + fixed) + fixed
    assert read_onnx_tensors(write(tmp_path, content)).tensors.keys() == {"weight"}


WHOLE = model(TENSORS, NODES)
DAMAGED = {
    "nothing": (b"", "cannot mmap an empty file"),
    "no graph": (number(1, 7), "no stored tensor"),
    "cut off": (WHOLE[: len(WHOLE) // 2], r"a field of [\d,]+ bytes where [\d,]+ are left"),
    "text": (b"import os\n", "a number that is cut off"),
    "an endless number": (b"\xff" * 20, "a number of more than ten bytes"),
    "a cut off number": (b"\x08\xff", "a number that is cut off"),
    "a length beyond everything": (b"\x3a" + varint(1 << 62) + b"x", "a field of 4,611,686,018,427,387,904 bytes"),
    "half precision": (graph(tensor("w", TENSORS["weight"], kind=10)), "tensor 'w' of data type 10, not float32"),
    "a shape too large": (
        graph(number(1, 1 << 40) + number(1, 1 << 40) + number(2, 1) + block(9, b"1234")),
        r"tensor '' of shape \[1099511627776, 1099511627776\] in 4 bytes",
    ),
    "too many sides": (graph(number(1, 1) * 9 + number(2, 1) + block(9, b"1234")), "in 4 bytes"),
    "a name twice": (graph(*[tensor("w", TENSORS["weight"])] * 2), "two tensors called w"),
    "a name that is no text": (graph(number(2, 1) + block(8, b"\xff")), "'utf-8' codec can't decode"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused_before_anything_is_made_of_it(tmp_path, kind):
    content, found = DAMAGED[kind]
    path = write(tmp_path, content)
    with pytest.raises(CheckpointError, match=found) as caught:
        read_onnx_tensors(path)
    assert str(caught.value).startswith(f"reading {path}: found ")
    assert "a whole ONNX file with float32 tensors inside" in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        read_onnx_tensors(tmp_path / "absent.onnx")
