"""ModelJob: what jobs share that ask a model with the same words about every input."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch

from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.segmenter import Segmenter
from lexiseg.runs.bulk.job import Job


class ModelJob(Job, ABC):
    """A job whose workers each load a model and embed the words, once.

    Args:
        load: Loads the model on the ``device`` that it is given; called once a worker.
        device: Where the model computes; of several GPUs each worker takes its own, unless one is named.
        seconds: How long one image may take where workers can be ended; None for ever.
        segmenter: The model, where this process has loaded it already; not sent to others.
    """

    modules = (
        "lexiseg.runs.load",
        "transformers.modeling_utils",
    )  # what takes seconds; most models need both

    def __init__(
        self,
        *,
        load: Callable[..., Segmenter],
        device: str,
        seconds: float | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self._load, self._device = load, device
        self.seconds = seconds
        self.uses_gpu = device != "cpu"
        self._segmenter = segmenter
        self._class_names: ClassNames | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_segmenter": None, "_class_names": None}

    def begin(self, worker: int) -> None:
        """Take a GPU of one's own."""
        self._device = own_gpu(self._device, worker)

    @abstractmethod
    def name_classes(self, segmenter: Segmenter) -> ClassNames:
        """Embed the words of the job."""

    def open(self) -> tuple[Segmenter, ClassNames]:
        """Load the model and embed the words, once.

        Raises:
            VocabularyError: The words cannot be used.
        """
        if self._segmenter is None:
            self._segmenter = self._load(device=self._device)
        if self._class_names is None:
            self._class_names = self.name_classes(self._segmenter)
        return self._segmenter, self._class_names


def own_gpu(device: str, worker: int) -> str:
    """Return the device of one of several workers: of several GPUs its own, unless one was named.

    Args:
        device: What was asked for, such as ``auto``.
        worker: Its number, from 0.
    """
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return f"cuda:{worker % count}" if count > 1 else device
