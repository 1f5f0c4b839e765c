"""Load any model with one space for images and sentences as curation wants it."""

import json
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

from lexiseg.data.transforms import resize_image
from lexiseg.models.checkpoint import fingerprint
from lexiseg.runs.load import load
from lexiseg.scoring.image_text import as_image_text_model


class LoadedPairEncoder:
    """A model as ``data.curation`` takes it.

    Args:
        name: What ``lexiseg.load`` takes: a run of a model trained on captions, CLIP, SigLIP, ``mini``.
        device: As there.

    Raises:
        InputError: The model has no space for whole images and sentences.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        model = load(name, device=device)
        self._model = as_image_text_model(model)
        self._side = self._model.image_side
        self._device = next((value.device for value in model.parameters()), torch.device("cpu"))
        self.name = name
        settings = json.dumps(dict(model.method_settings), sort_keys=True, default=str)
        assert isinstance(model, nn.Module)
        self.fingerprint = fingerprint(model, settings, f"side {self._side}")

    @torch.inference_mode()
    def embed_images(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "B D"]:
        """Embed images, resized to the square that the model likes; unit rows."""
        if not images:
            return self.embed_texts(["nothing"])[:0]  # no readable image: no rows, as wide as the others
        resized = [resize_image(image, (self._side, self._side)) for image in images]
        batch = torch.stack(resized).to(self._device)
        vectors = self._model.encode_images(batch).global_token
        assert vectors is not None, "a model without a vector for whole images"
        return vectors.float().cpu().numpy()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "T D"]:
        """Embed sentences; unit rows."""
        return self._model.embed_sentences(texts).float().cpu().numpy()
