"""Write a dense image encoder, and the comparison with class embeddings, as one ONNX graph.

Class embeddings are an input, so that new words need no new graph, or part of the graph; batch, height, width and the number
of names are free. Pixels are normalised inside. OpenVINO reads the same file, or has it in a form of its own.
"""

import importlib.util
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import jaxtyping
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import InputError, MissingPackageError
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.ops.similarity import similarity_map

INPUTS = ("images", "embeddings")
OUTPUTS = ("scores", "tokens", "global_token")
#: Key of the graph's own record of what it is.
RECORD = "lexiseg"
_PACKAGES = ("onnx", "onnxscript")
_OPSET = 20


class _Graph(nn.Module):
    def __init__(self, encoder: ImageEncoder, *, unit: bool) -> None:
        super().__init__()
        self.encoder, self.unit = encoder, unit

    def forward(
        self, images: Float[Tensor, "B 3 H W"], embeddings: Float[Tensor, "S D"]
    ) -> tuple[Tensor, ...]:
        features: Any = self.encoder(images)
        tokens = normalize(features.tokens, dim=-1) if self.unit else features.tokens
        scores = similarity_map(tokens, embeddings, features.grid)
        whole = features.global_token
        return (scores, tokens) if whole is None else (scores, tokens, whole)


class _BakedGraph(nn.Module):
    embeddings: Tensor

    def __init__(self, encoder: ImageEncoder, embeddings: Float[Tensor, "S D"]) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("embeddings", embeddings)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor]:
        features: Any = self.encoder(images)
        return (similarity_map(features.tokens, self.embeddings, features.grid),)


def export_graph(
    encoder: ImageEncoder,
    path: Path,
    *,
    record: Mapping[str, str],
    unit: bool = True,
    baked: Float[Tensor, "S D"] | None = None,
    multiple_of: int | None = None,
) -> None:
    """Write an encoder as a graph, whole or not at all; takes about as long as twenty encodings.

    Inputs are ``images`` (``B 3 H W``, RGB in [0, 1], sides multiples of the stride) and ``embeddings`` (``S D``, unit rows).
    Outputs are ``scores`` (``B S h w``, cosines), ``tokens`` (``B N D``, unit rows) and ``global_token`` (``B D``, as
    the encoder gives it, and only if it does). With ``baked`` there is one input, ``images``, and one output, ``scores``.

    Args:
        encoder: In float32 on the CPU.
        path: The file, with the ending ``.onnx``.
        record: Texts kept in the file's metadata beside ``stride`` and ``width``, which is ``D``; ``least_patches`` where
            the head needs so many.
        unit: Tokens get unit length, which makes scores cosines; without, they are compared as the encoder gives them.
        baked: Class embeddings that become a part of the graph; tokens are compared as the encoder gives them.
        multiple_of: What the network divides sides by, where that is more than the stride; they are multiples of it then.

    Raises:
        MissingPackageError: The extra ``export`` is not installed.
        InputError: The encoder has a part that ONNX has no word for.
        OutputError: The file cannot be written.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError.of(package, doing=f"writing {path}", extra="export")
    free = torch.export.Dim.AUTO
    side = multiple_of or encoder.stride
    sides: Any = (free, free)
    if multiple_of is not None:  # with more than a hint, halves of halves of a side are known to be whole
        sides = tuple(multiple_of * torch.export.Dim(name, min=2, max=512) for name in ("rows", "columns"))
    images = torch.rand(
        2, 3, 6 * side, 8 * side
    )  # no side is 1, and none another: they would be taken for one
    with torch.no_grad():
        seen = encoder(images[:1])
    width = seen.tokens.shape[2]
    is_open = baked is None
    graph = _Graph(encoder, unit=unit) if baked is None else _BakedGraph(encoder, baked)
    outputs = OUTPUTS[: 1 if not is_open else 2 if seen.global_token is None else 3]
    try:
        with torch.inference_mode(False), torch.no_grad(), _quietly():
            program: Any = torch.onnx.export(
                graph.eval(),
                (images, torch.rand(5, width)) if is_open else (images,),
                dynamo=True,
                dynamic_shapes=({0: free, 2: sides[0], 3: sides[1]}, {0: free})[: 1 + is_open],
                input_names=list(INPUTS[: 1 + is_open]),
                output_names=list(outputs),
                opset_version=_OPSET,
                custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise InputError(
            doing=f"writing {path}",
            found=f"an image encoder that ONNX cannot express ({str(error).splitlines()[0]})",
            expected="a network of parts that ONNX has words for, such as a CLIP or SigLIP with one of its own heads",
            fix="Choose another head or backbone, or use it with the engine torch.",
        ) from error
    program.model.metadata_props.update(
        {RECORD: "1", "stride": str(encoder.stride), "width": str(width), **record}
    )
    with atomic_path(path) as temporary:
        program.save(str(temporary))


def to_openvino(graph: Path, path: Path) -> None:
    """Write a graph in OpenVINO's own form: ``path``, with the ending ``.xml``, and a file ``.bin`` beside it.

    Raises:
        MissingPackageError: OpenVINO is not installed.
        OutputError: The files cannot be written.
    """
    if importlib.util.find_spec("openvino") is None:
        raise MissingPackageError.of("openvino", doing=f"writing {path}", extra="export")
    import openvino

    model = openvino.Core().read_model(
        str(graph)
    )  # numbers as they are: converting would halve their precision
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / path.name
        openvino.save_model(model, str(written), compress_to_fp16=False)
        for file in (written.with_suffix(".bin"), written):  # the one that is opened comes last
            with atomic_path(path.with_suffix(file.suffix)) as temporary:
                shutil.copyfile(file, temporary)


def _stable_sort(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """Translate a stable sort: ONNX's TopK puts the lower index first among equals."""
    from onnxscript import opset20 as op

    length = op.Shape(self, start=dim, end=None if dim == -1 else dim + 1)
    return op.TopK(self, length, axis=dim, largest=int(descending), sorted=1)


@contextmanager
def _quietly() -> Iterator[None]:
    """Hold back the exporter's remarks on itself, and shape checks, which are for numbers and not for symbols."""
    checked = jaxtyping.config.jaxtyping_disable
    level = logging.getLogger("torch.onnx").level
    jaxtyping.config.update("jaxtyping_disable", True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", checked)
        logging.getLogger("torch.onnx").setLevel(level)
