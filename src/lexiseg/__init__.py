"""Lexiseg: segment photographs by words, with whatever labels you have.

>>> import lexiseg
>>> model = lexiseg.load("mini")
>>> result = model.segment("photo.jpg", "cat, grass, sky")
>>> result.overlay().save("overlay.png")

Names are imported when they are first used, so that ``import lexiseg`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lexiseg.core.errors import CheckpointError as CheckpointError
    from lexiseg.core.errors import DatasetError as DatasetError
    from lexiseg.core.errors import ImageError as ImageError
    from lexiseg.core.errors import InputError as InputError
    from lexiseg.core.errors import LexisegError as LexisegError
    from lexiseg.core.errors import MissingWeightsError as MissingWeightsError
    from lexiseg.core.errors import OutputError as OutputError
    from lexiseg.core.errors import VocabularyError as VocabularyError
    from lexiseg.core.segmentation import Segmentation as Segmentation
    from lexiseg.core.vocabulary import Vocabulary as Vocabulary
    from lexiseg.data.folder import FolderDataset as FolderDataset
    from lexiseg.inference.encode import EncodedImage as EncodedImage
    from lexiseg.inference.segmenter import Segmenter as Segmenter
    from lexiseg.inference.settings import InferenceSettings as InferenceSettings
    from lexiseg.runs.evaluate import evaluate as evaluate
    from lexiseg.runs.load import load as load

_HOMES = {
    "CheckpointError": "core.errors",
    "DatasetError": "core.errors",
    "EncodedImage": "inference.encode",
    "FolderDataset": "data.folder",
    "ImageError": "core.errors",
    "InferenceSettings": "inference.settings",
    "InputError": "core.errors",
    "LexisegError": "core.errors",
    "MissingWeightsError": "core.errors",
    "OutputError": "core.errors",
    "Segmentation": "core.segmentation",
    "Segmenter": "inference.segmenter",
    "Vocabulary": "core.vocabulary",
    "VocabularyError": "core.errors",
    "evaluate": "runs.evaluate",
    "load": "runs.load",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lexiseg")
    if name not in _HOMES:
        raise AttributeError(f"module 'lexiseg' has no attribute {name!r}")
    return getattr(import_module(f"lexiseg.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__name__", "__version__"]
