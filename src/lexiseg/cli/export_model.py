"""``lexiseg export-model``: a CLIP or SigLIP with its head as one ONNX graph."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.options import MethodChanges, ModelName, load_segmenter
from lexiseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ExportModel:
    """Write a CLIP or SigLIP with its head as one ONNX graph, which programs without torch can run.

    Inputs are images (B 3 H W, RGB in 0..1, sides multiples of the stride) and class embeddings (S D, unit rows); outputs are
    scores (B S h w, cosines), tokens and a token of the whole image. All sizes are free: new words need no new graph. ONNX
    Runtime and OpenVINO read it. Needs the extra export.
    """

    model: tyro.conf.Positional[ModelName]
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", help="The file to write, with the ending .onnx.")]
    set_: MethodChanges = ()

    def run(self) -> int:
        """Write, print what it takes and gives, and return the exit code."""
        from lexiseg.methods.dense_similarity import DenseSimilarity
        from lexiseg.models.checkpoint import fingerprint
        from lexiseg.models.graph_encoder import GraphEncoder
        from lexiseg.models.graph_export import export_graph
        from lexiseg.ops.dense_heads import graph_facts

        if self.out.suffix != ".onnx":
            raise InputError(
                doing="writing a graph",
                found=f"the file {self.out}",
                expected="a name that ends in .onnx",
                fix=f"Use --out {self.out.with_suffix('.onnx')}.",
            )
        segmenter = load_segmenter(self.model, "cpu", self.set_)
        if not isinstance(segmenter, DenseSimilarity) or isinstance(segmenter.image_encoder, GraphEncoder):
            raise InputError(
                doing=f"writing {self.model} as a graph",
                found="a model that decides by more than tokens and class embeddings, or a graph already",
                expected="a CLIP or SigLIP with a head of its own, and the engine torch",
                fix="Choose one, such as openai/clip-vit-base-patch16 with --set head=naclip.",
            )
        encoder = segmenter.image_encoder
        record = {"model": self.model, "weights": fingerprint(encoder), **graph_facts(segmenter.head or "")}
        export_graph(encoder, self.out, record={**record, "prompts": segmenter.settings.prompts})
        megabytes = self.out.stat().st_size / 1e6
        print(
            f"{self.out}: {megabytes:,.0f} MB; images in 0..1 whose sides are multiples of {encoder.stride}"
            f"\nclass embeddings: means over the prompt set {segmenter.settings.prompts}, of unit length"
        )
        return 0
