"""Published MaskFormer, Mask2Former and OneFormer checkpoints as segmenters of their own classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lexiseg.core.vocabulary import Vocabulary, without_names_of_others
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.maskformer import MaskFormerSegmenter
from lexiseg.models.checkpoint import read_config, read_json
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.mask2former import TYPES, load_universal
from lexiseg.models.maskformer_checkpoint import load_maskformer

#: Sizes of the families' image processors where the file has none.
_SHORT_SIDE, _MAX_LONG_SIDE = 800, 1333


def build_maskformer(name_or_path: str) -> MaskFormerSegmenter:
    """Load a MaskFormer, Mask2Former or OneFormer checkpoint with its own classes, and the sizes that it was evaluated at.

    Args:
        name_or_path: A hub id or a local folder.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    folder = resolve_checkpoint(name_or_path)
    kind = read_config(folder, ("maskformer", *TYPES))["model_type"]
    loaded = load_maskformer(folder) if kind == "maskformer" else load_universal(folder)
    short_side, max_long_side = evaluated_sizes(folder)
    settings = InferenceSettings(
        short_side=short_side, max_long_side=max_long_side, background="name", refine="none"
    )
    vocabulary = vocabulary_of(loaded.class_names)
    return MaskFormerSegmenter(loaded.network, vocabulary, settings=settings, name=name_or_path)


def vocabulary_of(class_names: Sequence[str]) -> Vocabulary:
    """Build the vocabulary of a checkpoint: "building, edifice" is a name and a synonym.

    Classes whose first names are equal keep all that is written of them as their name. A synonym that is
    another class's name is left out.

    Args:
        class_names: As ``id2label`` has them, in the order of the logits: label ``k`` is the ``k``-th.
    """
    words = [[part.strip() for part in name.split(",") if part.strip()] or [name] for name in class_names]
    firsts = [each[0].casefold() for each in words]
    names = tuple(
        each[0] if firsts.count(first) == 1 else " ".join(whole.split())
        for each, first, whole in zip(words, firsts, class_names, strict=True)
    )
    synonyms = tuple(tuple(dict.fromkeys(each[1:])) for each in words)
    return Vocabulary(names=names, synonyms=without_names_of_others(names, synonyms))


def evaluated_sizes(
    folder: Path, *, short_side: int = _SHORT_SIDE, max_long_side: int = _MAX_LONG_SIDE
) -> tuple[int, int]:
    """Read short and long side of ``preprocessor_config.json``, in any way that transformers wrote them.

    Args:
        folder: Of the checkpoint.
        short_side: Where the file has none.
        max_long_side: Likewise.
    """
    file = folder / "preprocessor_config.json"
    settings: dict[str, Any] = read_json(folder, file.name) if file.exists() else {}
    size: Any = settings.get("size")
    longest: Any = settings.get("max_size")
    if isinstance(size, dict):
        sides = [side for side in (size.get("height"), size.get("width")) if isinstance(side, int)]
        longest = size.get("longest_edge", longest)
        size = size.get("shortest_edge", min(sides, default=None))
    usable = [side if isinstance(side, int) and side > 0 else None for side in (size, longest)]
    short_side = usable[0] or short_side
    return short_side, max(short_side, usable[1] or max_long_side)
