"""``lexiseg export-model``: a model as one graph file, which programs without torch can run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lexiseg.cli.options import Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.core.errors import InputError

#: Images of a calibration folder that are looked at: ranges change little after some dozens.
_MOST_IMAGES = 64
#: Of these, labels are compared afterwards.
_COMPARED = 8


@dataclass(frozen=True, kw_only=True)
class ExportModel:
    """Write a model as one graph file, which programs without torch can run.

    For models whose scores are tokens times class embeddings: CLIP and SigLIP with a head of their own, runs of CLIP-to-Seg
    and lexiseg distil, heads of lexiseg fit --prior none, SegFormer, DPT and UperNet. Inputs are images (B 3 H W, RGB in 0..1,
    sides multiples of the stride) and class embeddings (S D): new words need no new graph. With --names, and for models with
    a fixed list of classes, the names are in the graph. All sizes are free. lexiseg segment and evaluate take the file as
    --model. Needs the extra export.
    """

    model: tyro.conf.Positional[ModelName]
    out: Annotated[
        Path, tyro.conf.arg(metavar="FILE", help="The file to write: .onnx, or .xml with --to openvino.")
    ]
    to: Annotated[
        Literal["onnx", "openvino"],
        option("FORM", "onnx, which ONNX Runtime and OpenVINO read, or openvino, its own form in two files."),
    ] = "onnx"
    names: Annotated[
        str | None,
        option("NAMES", 'Put these classes into the graph: "cat, grass, sky". It takes no others then.'),
    ] = None
    embeddings: Annotated[
        Path | None,
        option(
            "FILE",
            "Write class embeddings of --names into this .npz file instead of the graph, for a program that has no text "
            "encoder.",
        ),
    ] = None
    int8: Annotated[
        Path | None,
        option(
            "FOLDER",
            "Write convolutions and products in 8 bits, by ONNX Runtime's static quantisation; ranges come from the images "
            f"of this folder, the first {_MOST_IMAGES}.",
        ),
    ] = None
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"

    def run(self) -> int:
        """Write, print what it takes and gives, and return the exit code."""
        from lexiseg.core.vocabulary import Vocabulary
        from lexiseg.data.image_files import list_images
        from lexiseg.runs.graph_model import refuse_ending, share_of_equal_labels, write_graph, write_words
        from lexiseg.runs.licences import list_parts
        from lexiseg.runs.load import load
        from lexiseg.runs.method_settings import parse_changes

        refuse_ending(self.out, self.to)
        if self.embeddings is not None and self.names is None:
            raise InputError(
                doing="writing class embeddings",
                found="--embeddings without --names",
                expected="the classes to embed",
                fix='Give --names "cat, grass, sky" too.',
            )
        calibration = [] if self.int8 is None else list_images(self.int8)[:_MOST_IMAGES]
        segmenter = load_segmenter(self.model, "cpu", self.set_, trust=self.trust, licence=self.licence)
        words = None if self.names is None else Vocabulary.parse(self.names)
        named = write_graph(
            segmenter,
            self.out,
            form=self.to,
            words=words,
            bake=self.embeddings is None,
            parts=list_parts(self.model, parse_changes(self.set_), trust=self.trust),
            calibration=calibration,
        )
        if self.embeddings is not None and named is not None:
            write_words(self.embeddings, named)
        print(
            f"{self.out}: {_megabytes(self.out):,.1f} MB; images in 0..1 whose sides are multiples of {segmenter.stride}"
        )
        if named is None:
            print(f"class embeddings: means over the prompt set {segmenter.settings.prompts}")
        elif self.embeddings is None:
            print(f"names in it: {', '.join(named.names)}")
        else:
            print(f"{self.embeddings}: class embeddings of {', '.join(named.names)}")
        if calibration:
            compared = calibration[:_COMPARED]
            if words is not None or segmenter.vocabulary is not None:
                share = share_of_equal_labels(segmenter, load(self.out, device="cpu"), compared, words)
                print(
                    f"8 bits: {100 * share:.2f} % of the pixels of {len(compared)} images have the label of float32"
                )
            else:
                print("8 bits: give --names to see how many labels stay as they were")
        return 0


def _megabytes(path: Path) -> float:
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return sum(file.stat().st_size for file in files) / 1e6
