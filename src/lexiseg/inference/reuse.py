"""What is asked of a model that cannot be had any more: other sizes of an encoded image, other numbers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.settings import ENCODING_FIELDS, InferenceSettings


def as_encoded(settings: InferenceSettings, encoded: EncodedImage) -> InferenceSettings:
    """Return the settings that really apply to an encoded image: its own size and windows."""
    return replace(settings, **{name: getattr(encoded.settings, name) for name in ENCODING_FIELDS})


def refuse_encoded_otherwise(item: Any, model: str, changes: Mapping[str, Any]) -> None:
    """Refuse an image that was encoded by another model or for another size; others are not looked at.

    Args:
        item: An encoded image, or any other.
        model: Name of the model that is asked.
        changes: Settings that are asked for.

    Raises:
        InputError: It was.
    """
    if not isinstance(item, EncodedImage):
        return
    if item.model != model:
        raise _encoded_otherwise(f"features of {item.model}", f"features of {model}")
    for name in ENCODING_FIELDS:
        there = getattr(item.settings, name)
        if name in changes and changes[name] != there:
            found = f"{name} = {changes[name]!r} for an image encoded with {there!r}"
            raise _encoded_otherwise(found, "the same, because size and windows are fixed by then")


def refuse_half_precision(became: Float[Tensor, " 1"], model: str) -> None:
    """Refuse to change the numbers of a model to half precision.

    Args:
        became: What would become of a number of the model.
        model: Its name.

    Raises:
        InputError: It would be of half precision.
    """
    dtype = became.dtype
    if dtype in (torch.float16, torch.bfloat16):
        offered = "bfloat16" if became.device.type == "cpu" else str(dtype).removeprefix("torch.")
        raise InputError(
            doing=f"changing the numbers of the model {model}",
            found=f"{dtype}, as by .half(), .bfloat16() or .to({dtype})",
            expected="float32, in which normalisation, comparison and upsampling are computed",
            fix=f'Load it with lexiseg.load(…, dtype="{offered}"), which encodes images so.',
        )


def _encoded_otherwise(found: str, expected: str) -> InputError:
    return InputError(
        doing="segmenting an encoded image",
        found=found,
        expected=expected,
        fix="Encode the image again, with this model and these settings, or give it without encoding.",
    )
