"""Read the tensors of an ONNX file without the packages that run it.

An ONNX file is one protocol-buffer message (https://onnx.ai/onnx/intro/concepts.html, onnx.proto3). Only what
names weights is read: the graph's stored tensors, and which node takes which of them. An exporter that
folds a transposition into a weight gives it a number for a name; the node that uses it still has its own.

Nothing is executed and nothing is copied: tensors are views of the file. Every length is compared with what
holds it before it is used.
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lexiseg.core.errors import CheckpointError

# Numbers of fields in onnx.proto3.
_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALISER = 1, 5
_NODE_INPUT, _NODE_NAME = 1, 3
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT32 = 1

# Kinds of values on the wire.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_RANK = 8


@dataclass(frozen=True, kw_only=True)
class OnnxTensors:
    """The weights of a graph.

    Attributes:
        tensors: float32 arrays by name: read-only views of the file.
        inputs: Node name to the names of what it takes.
    """

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_onnx_tensors(path: Path) -> OnnxTensors:
    """Read the float32 tensors that an ONNX file stores, and which nodes take them.

    Raises:
        CheckpointError: The file is no ONNX graph, is cut off, or holds a tensor whose bytes do not fit its shape.
    """
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        read = OnnxTensors()
        for graph in _blocks(content, _GRAPH):
            for node in _blocks(graph, _GRAPH_NODE):
                inputs = tuple(_text(value) for value in _blocks(node, _NODE_INPUT))
                read.inputs.update((_text(name), inputs) for name in _blocks(node, _NODE_NAME))
            for tensor in _blocks(graph, _GRAPH_INITIALISER):
                name, array = _read_tensor(tensor)
                if name in read.tensors:
                    raise ValueError(f"two tensors called {name}")
                read.tensors[name] = array
        if not read.tensors:
            raise ValueError("no stored tensor")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            doing=f"reading {path}",
            found=str(error),
            expected="a whole ONNX file with float32 tensors inside",
            fix="Get it again; the last attempt may have been cut off.",
        ) from error
    return read


def _read_tensor(message: memoryview) -> tuple[str, np.ndarray]:
    shape: list[int] = []
    name, kind, raw = "", 0, memoryview(b"")
    for number, value in _fields(message):
        if number == _TENSOR_DIMS:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_NAME and isinstance(value, memoryview):
            name = _text(value)
        elif number == _TENSOR_RAW and isinstance(value, memoryview):
            raw = value
    if kind != _FLOAT32:
        raise ValueError(f"tensor {name!r} of data type {kind}, not float32")
    if len(shape) > _MAX_RANK or math.prod(shape) * 4 != len(raw):
        raise ValueError(f"tensor {name!r} of shape {shape} in {len(raw)} bytes")
    return name, np.frombuffer(raw, dtype="<f4").reshape(shape)


def _blocks(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of every field of one message."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind}")
        if length > len(message) - place:
            raise ValueError(f"a field of {length:,} bytes where {len(message) - place:,} are left")
        yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if place + index >= len(message):
            raise ValueError("a number that is cut off")
        byte = message[place + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, place + index + 1
    raise ValueError("a number of more than ten bytes")


def _packed(message: memoryview) -> list[int]:
    values, place = [], 0
    while place < len(message):
        value, place = _varint(message, place)
        values.append(value)
    return values


def _text(message: memoryview) -> str:
    return bytes(message).decode()  # a UnicodeDecodeError is a ValueError
