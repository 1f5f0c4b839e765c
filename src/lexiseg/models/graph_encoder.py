"""GraphEncoder: an ONNX or OpenVINO graph as an image encoder, run by ONNX Runtime or OpenVINO on the CPU."""

import importlib.util
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from lexiseg.core.errors import CheckpointError, InputError, MissingPackageError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.models.graph_export import INPUTS, OUTPUTS, RECORD

#: ``openvino-bf16`` multiplies in bfloat16, on processors that can: faster, with scores within about 1e-2.
Engine: TypeAlias = Literal["onnxruntime", "openvino", "openvino-bf16"]
#: From inputs by name to outputs by name.
Run: TypeAlias = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
#: How to run a graph, the names of its inputs, and its record.
_Opened: TypeAlias = tuple[Run, frozenset[str], Mapping[str, str]]
#: Larger numbers of a record are damage: of a patch's side, and of a token's.
_MOST = 1 << 16
#: Engines by the ending of a graph's name.
ENGINE_OF: dict[str, Engine] = {".onnx": "onnxruntime", ".xml": "openvino"}


class GraphEncoder(ImageEncoder):
    """What ``graph_export.export_graph`` wrote; a graph with its names baked in gives their scores as tokens.

    Args:
        path: The graph.
        engine: What runs it; None goes by the name's ending.

    Attributes:
        record: What the graph says of itself: ``stride``, ``width``, ``weights`` (content hash), ``head``.

    Raises:
        MissingPackageError: The engine is not installed.
        CheckpointError: The file is absent, damaged, or was not written by ``export_graph``.
    """

    def __init__(self, path: Path, engine: Engine | None = None) -> None:
        super().__init__()
        self._path = path
        engine = engine or ENGINE_OF[path.suffix]
        package = engine.partition("-")[0]
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError.of(package, doing=f"running {path}", extra="export")
        if not path.is_file():
            raise _no_graph(path, "no such file")
        self.engine = engine
        try:
            self._run, self._inputs, self.record = _OPEN[engine](path)
        except Exception as error:  # engines raise kinds of their own
            raise _no_graph(path, f"a file that {engine} cannot read ({_first_line(error)})") from error
        if RECORD not in self.record:
            raise _no_graph(path, "an ONNX graph of something else")
        try:
            self.stride, self.width = (int(self.record[name]) for name in ("stride", "width"))
            self._least_patches = int(self.record.get("least_patches", "1"))
            self._divisor = int(self.record.get("multiple_of", self.stride))
            self._padding = float(self.record.get("padding", "0"))
            sizes = (self.stride, self.width, self._divisor)
            if min(sizes) < 1 or max(sizes) > _MOST or "weights" not in self.record:
                raise ValueError("numbers that no network has, or no weights")
        except (KeyError, ValueError) as error:
            raise _no_graph(path, f"a damaged record of what it is ({error})") from error

    @property
    def fingerprint(self) -> str:
        """Return the content hash of the weights that were exported."""
        return self.record["weights"]

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``.

        Raises:
            InputError: Another precision is asked for than that of the graph.
        """
        if torch.is_autocast_enabled(images.device.type):
            raise InputError(
                doing=f"encoding with {self.engine}",
                found="another dtype than float32",
                expected="float32, in which the graph was written",
                fix="Leave dtype out, or take the engine torch.",
            )
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        least = self._least_patches
        if grid[0] * grid[1] < least:
            raise InputError(
                doing=f"encoding with {self.engine}",
                found=f"{grid[0]}×{grid[1]} patches",
                expected=f"{least} or more: the head of this graph compares a patch with so many others",
                fix="Use a larger --short-side or --window, or the engine torch.",
            )
        height, width = images.shape[2:]
        margin = (0, -width % self._divisor, 0, -height % self._divisor)
        filled = pad(images, margin, value=self._padding)
        given = {"images": filled.detach().cpu().contiguous().numpy()}
        if not self.is_baked:
            given["embeddings"] = np.zeros((1, self.width), np.float32)
        found = {
            name: torch.from_numpy(np.array(each)).to(images.device)
            for name, each in self._ran(given).items()
        }
        tokens = rearrange(found["scores"], "b s h w -> b (h w) s") if self.is_baked else found["tokens"]
        found_grid = (filled.shape[2] // self.stride, filled.shape[3] // self.stride)
        if tokens.shape[:2] != (len(images), found_grid[0] * found_grid[1]):
            raise _no_graph(self._path, f"a graph that gives {tuple(tokens.shape)} for {found_grid} patches")
        if any(margin):
            laid_out = rearrange(tokens, "b (h w) d -> b h w d", h=filled.shape[2] // self.stride)
            tokens = rearrange(laid_out[:, : grid[0], : grid[1]], "b h w d -> b (h w) d")
        return PatchFeatures(
            tokens=tokens, grid=grid, stride=self.stride, global_token=found.get("global_token")
        )

    def _ran(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            found = self._run(given)
        except Exception as error:  # engines raise kinds of their own
            raise _no_graph(
                self._path, f"a graph that {self.engine} cannot run ({_first_line(error)})"
            ) from error
        name, rank = ("scores", 4) if self.is_baked else ("tokens", 3)
        if name not in found or found[name].ndim != rank or found[name].dtype != np.float32:
            shapes = ", ".join(f"{each} {value.dtype} {value.shape}" for each, value in found.items())
            raise _no_graph(self._path, f"a graph that gives {shapes or 'nothing that is known'}")
        return found

    @property
    def is_baked(self) -> bool:
        """Return whether the graph has its class embeddings in it."""
        return "embeddings" not in self._inputs


def _open_onnxruntime(path: Path) -> _Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs() if each.name in OUTPUTS]
    return (
        lambda inputs: dict(zip(names, session.run(names, inputs), strict=True)),
        frozenset(each.name for each in session.get_inputs()),
        session.get_modelmeta().custom_metadata_map,
    )


def _open_openvino(path: Path, precision: str = "f32") -> _Opened:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    hints = {"INFERENCE_NUM_THREADS": _threads(), "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(model, "CPU", hints)
    record: Any = model.get_rt_info(["framework"]).value if model.has_rt_info(["framework"]) else {}

    names = [name for each in compiled.outputs if (name := _known(each.names, OUTPUTS))]
    taken = frozenset(name for each in compiled.inputs if (name := _known(each.names, INPUTS)))

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = compiled(inputs)
        return {name: outputs[name] for name in names}

    return run, taken, {str(name): str(value) for name, value in dict(record).items()}


def _known(names: Collection[str], known: Collection[str]) -> str | None:
    """Return the name of ours among those that a tensor has."""
    return next((name for name in known if name in names), None)


def _threads() -> int:
    """Return as many threads as torch takes: the engines look at the machine, not at what is allowed."""
    return min(torch.get_num_threads(), os.cpu_count() or 1)


_OPEN: dict[Engine, Callable[[Path], _Opened]] = {
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
    "openvino-bf16": lambda path: _open_openvino(path, "bf16"),
}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _no_graph(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"opening the graph {path}",
        found=found,
        expected="an ONNX file that Lexiseg wrote",
        fix="Write it again with lexiseg export-model.",
    )
