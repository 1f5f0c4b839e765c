"""Write a model as a graph file, and load such a file as a model.

What a graph says of itself is JSON under the key ``segmenter`` of its metadata: the model it was written from, inference
settings, settings of the method, classes and names that are baked in, parts with their licences.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import CheckpointError, InputError, LexisegError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.json_text import decode_json
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.images import load_image
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.closed_vocabulary import ClosedVocabularySegmenter
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.clip_to_seg.model import PADDING as CLIP_TO_SEG_PADDING
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.methods.dense_similarity import DenseSimilarity
from lexiseg.methods.graph_model import BakedGraphModel, GraphModel, refuse_unlike_graph
from lexiseg.methods.pixel_classifier import PixelClassifierSegmenter
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.graph_encoder import ENGINE_OF, GraphEncoder
from lexiseg.models.graph_export import export_graph, to_openvino
from lexiseg.models.graph_int8 import write_int8
from lexiseg.models.maskformer import PADDING as CLASSIFIER_PADDING
from lexiseg.ops.dense_heads import graph_facts
from lexiseg.runs.settings_json import settings_to_json

SEGMENTER = "segmenter"


class _Images(ImageEncoder):
    """A segmenter's own way from images to tokens."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter, self.stride = segmenter, segmenter.stride

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        return self.segmenter.encode_images(images)


def is_graph_file(name: str) -> bool:
    """Return whether a name is that of a graph file, by its ending."""
    return Path(name).suffix in ENGINE_OF


def write_graph(
    model: Segmenter,
    path: Path,
    *,
    form: Literal["onnx", "openvino"],
    words: Vocabulary | None,
    bake: bool,
    parts: Sequence[Any],
    calibration: Sequence[Path] = (),
) -> ClassNames | None:
    """Write a model as a graph.

    Args:
        model: On the CPU, in float32.
        path: The file: ``.onnx``, or ``.xml`` for OpenVINO, which gets a ``.bin`` beside it.
        form: What reads the file.
        words: Classes to bake in, or to embed for a program that has no text encoder; None for none. A model with a fixed
            list of classes bakes in all of them.
        bake: Put the words into the graph; otherwise class embeddings are its input.
        parts: Dataclasses that say of what the model is made (``runs.licences.Part``), for the file's record.
        calibration: Images whose numbers decide the ranges of 8 bits; none writes float32.

    Returns:
        The names of the words with their embeddings; None without words.

    Raises:
        InputError: The model is more than a network and a comparison with class embeddings.
        MissingPackageError: The extra ``export`` is not installed.
    """
    refuse_unlike_graph(model, model.name)
    is_closed = isinstance(model, ClosedVocabularySegmenter)
    named = None
    if words is not None or is_closed:
        named = model.name_classes(model.own_words() if words is None else words, _plain(model))
    record = _record(model, named if bake or is_closed else None, parts, is_int8=bool(calibration))
    head = graph_facts(model.head or "") if isinstance(model, DenseSimilarity) else {}
    multiple_of = _multiple_of(model)
    if multiple_of is not None:
        head = {**head, "multiple_of": str(multiple_of), "padding": repr(_PADDING_OF[type(model)])}
    texts = {
        "weights": fingerprint(model),
        "model": model.name,
        "prompts": model.settings.prompts,
        **head,
        SEGMENTER: json.dumps(record),
    }
    baked = named.embeddings if named is not None and (bake or is_closed) else None
    with (
        tempfile.TemporaryDirectory() as folder,
        model.network.written_out_attention()
        if isinstance(model, PixelClassifierSegmenter)
        else nullcontext(),
    ):
        plain = Path(folder) / "plain.onnx"
        export_graph(_Images(model), plain, record=texts, unit=False, baked=baked, multiple_of=multiple_of)
        if calibration:
            small = Path(folder) / "int8.onnx"
            write_int8(plain, small, (_seen(model, each) for each in calibration))
            plain = small
        if form == "openvino":
            to_openvino(plain, path)
        else:
            with atomic_path(path) as temporary:
                temporary.write_bytes(plain.read_bytes())
    return named


def write_words(path: Path, named: ClassNames) -> None:
    """Write names and their class embeddings for a program without a text encoder: ``names``, ``owner``, ``embeddings``.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            classes=np.array(named.vocabulary.names),
            names=np.array(named.names),
            owner=np.array(named.owner, np.int64),
            embeddings=named.embeddings.numpy(),
        )


def build_graph(name: str, open_model: Callable[[str], Segmenter]) -> Segmenter:
    """Load a graph file as a model.

    Args:
        name: The file.
        open_model: Loads the model that it was written from, where words have to be embedded.

    Raises:
        CheckpointError: The file is absent, damaged, or does not say which model it is.
        MissingPackageError: Its engine is not installed.
    """
    path = Path(name).expanduser()
    graph = GraphEncoder(path)
    record = graph_record(graph, path)
    try:
        settings = InferenceSettings(**record["settings"])
        how: dict[str, Any] = {"name": name, "settings": settings, "method": dict(record["method"])}
        if not graph.is_baked:
            written_from, changes = graph.record["model"], dict(record["changes"])
            return GraphModel(
                graph, written_from=written_from, open_words=lambda each: open_model(each, **changes), **how
            )
        listed = record["classes"]
        vocabulary = Vocabulary(
            names=tuple(listed["names"]),
            synonyms=tuple(tuple(each) for each in listed["synonyms"]),
            background=listed["background"],
        )
        return BakedGraphModel(graph, vocabulary=vocabulary, names=tuple(record["names"]), **how)
    except LexisegError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise damaged_record(path, f"{type(error).__name__}: {error}") from error


def graph_record(graph: GraphEncoder, path: Path) -> dict[str, Any]:
    """Return what a graph says of the model that it was written from.

    Raises:
        CheckpointError: It says nothing, as a graph of an encoder alone.
    """
    try:
        record = decode_json(graph.record[SEGMENTER])
        if not isinstance(record, dict) or not {"settings", "method", "parts", "changes"} <= record.keys():
            raise ValueError("parts of it are missing")
    except (KeyError, ValueError) as error:
        raise damaged_record(path, str(error)) from error
    return record


def damaged_record(path: Path, found: str) -> CheckpointError:
    """Build the error of a graph whose record cannot be used."""
    return CheckpointError(
        doing=f"loading the graph {path}",
        found=f"no record of the model that it is ({found})",
        expected="a file that lexiseg export-model of this version wrote",
        fix="Write it again with lexiseg export-model.",
    )


#: What models fill images up with, to sides that their networks divide by.
_PADDING_OF: dict[type[Segmenter], float] = {
    ClipToSeg: CLIP_TO_SEG_PADDING,
    PixelClassifierSegmenter: CLASSIFIER_PADDING,
}


def _multiple_of(model: Segmenter) -> int | None:
    """Return what a model's network divides sides by; None where that is the stride."""
    if isinstance(model, ClipToSeg):
        return model.student.size_divisor
    return model.network.size_divisor if isinstance(model, PixelClassifierSegmenter) else None


def _plain(model: Segmenter) -> InferenceSettings:
    """Return a model's own settings, under which all its classes compete by their names."""
    return (
        model.settings
        if model.settings.background in ("none", "name")
        else model.settings.changed(background="none")
    )


def _record(
    model: Segmenter, baked: ClassNames | None, parts: Sequence[Any], *, is_int8: bool
) -> dict[str, Any]:
    head = model.head if isinstance(model, DenseSimilarity) else None
    record: dict[str, Any] = {
        "settings": asdict(model.settings),
        "method": settings_to_json({**model.method_settings, **({"int8": True} if is_int8 else {})}),
        "changes": {"method_settings": {"head": head}} if head else {},
        "parts": [asdict(part) for part in parts],
    }
    if baked is not None:
        vocabulary = baked.vocabulary.subset(baked.labels)
        record["names"] = list(baked.names)
        record["classes"] = {
            "names": list(vocabulary.names),
            "synonyms": [list(each) for each in vocabulary.synonyms],
            "background": vocabulary.background,
        }
    return record


def _seen(model: Segmenter, image: Path) -> np.ndarray:
    """Return an image as the model sees it whole."""
    pixels = load_image(image)
    size = fitted_size(
        pixels.shape[:2],
        short_side=model.settings.short_side,
        max_long_side=model.settings.max_long_side,
        squash=not model.settings.keep_aspect,
        multiple_of=_multiple_of(model) or model.stride,
    )
    return resize_image(pixels, size)[None].numpy()


def share_of_equal_labels(
    one: Segmenter, other: Segmenter, images: Sequence[Path], words: Vocabulary | None
) -> float:
    """Return the share of pixels to which two models give the same label, over some images.

    Raises:
        InputError: The models need words and there are none.
    """
    equal = total = 0
    for image in images:
        maps = [model.segment(image, words).label_map for model in (one, other)]
        equal += int((maps[0] == maps[1]).sum())
        total += maps[0].size
    if not total:
        raise InputError(
            doing="comparing two models",
            found="no image",
            expected="one or more",
            fix="Give images.",
        )
    return equal / total


def refuse_ending(path: Path, form: str) -> None:
    """Refuse a file name that does not say what will be in it.

    Raises:
        InputError: It ends otherwise.
    """
    ending = {"onnx": ".onnx", "openvino": ".xml"}[form]
    if path.suffix != ending:
        raise InputError(
            doing="writing a graph",
            found=f"the file {path}",
            expected=f"a name that ends in {ending}",
            fix=f"Use --out {path.with_suffix(ending)}.",
        )
