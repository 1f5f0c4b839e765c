"""Write a graph in 8-bit whole numbers, by ONNX Runtime's own tool: static quantisation with calibration images."""

import importlib.util
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import MissingPackageError
from lexiseg.models.graph_export import INPUTS

#: What is computed in 8 bits: nearly all of a network's work.
_QUANTISED = ["Conv", "MatMul", "Gemm"]
#: Class embeddings that calibration compares with; the comparison itself stays in float32.
_PROBES = 8


def write_int8(graph: Path, path: Path, images: Iterable[Float32[np.ndarray, "B 3 H W"]]) -> None:
    """Write a graph with its convolutions and matrix products in 8 bits; the comparison with names stays in float32.

    Weights are quantised by channel, activations by the range that calibration images take.

    Args:
        graph: In float32, as ``export_graph`` wrote it.
        path: The file, with the ending ``.onnx``.
        images: RGB in [0, 1], with sides that the graph takes; a few dozen, like those it will see.

    Raises:
        MissingPackageError: The extra ``export`` is not installed.
        OutputError: The file cannot be written.
    """
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError.of(package, doing=f"writing {path} in 8 bits", extra="export")
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load(str(graph))
    taken = {each.name: each for each in model.graph.input}
    fixed: dict[str, np.ndarray] = {}
    if INPUTS[1] in taken:
        width = taken[INPUTS[1]].type.tensor_type.shape.dim[1].dim_value
        rows = np.random.default_rng(0).standard_normal((_PROBES, width)).astype(np.float32)
        fixed[INPUTS[1]] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder, _quietly():
        written = Path(folder) / "int8.onnx"
        quantize_static(
            str(graph),
            str(written),
            _Reader({"images": each, **fixed} for each in images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            nodes_to_exclude=_comparison(model),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # exact sums on processors without 8-bit dot products too
        )
        temporary.write_bytes(written.read_bytes())


@contextmanager
def _quietly() -> Iterator[None]:
    """Hold back the tool's advice to prepare graphs by another of its tools, which is for graphs of fixed sizes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Reader:
    """What the tool reads inputs from, one after the other."""

    def __init__(self, inputs: Iterable[dict[str, np.ndarray]]) -> None:
        self._inputs: Iterator[dict[str, np.ndarray]] = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def _comparison(model: Any) -> list[str]:
    """Return the nodes between the tokens and the scores: back from the scores to the last product, and what it takes."""
    by_output = {name: node for node in model.graph.node for name in node.output}
    found, names = [], ["scores"]
    while names:
        node = by_output.get(names.pop())
        if node is None:
            continue
        found.append(node.name)
        if node.op_type not in _QUANTISED and node.op_type != "Einsum":
            names.extend(node.input)
    return found
