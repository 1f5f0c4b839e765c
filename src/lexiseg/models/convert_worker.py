"""Read pickled files of weights and write them as safetensors: run as a script, in a process of its own.

It imports nothing of ours, so that what reads the pickle is small. ``convert.py`` starts it and checks what it wrote.
"""

import os
import pickle
import sys
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file


class UnusableFileError(Exception):
    """A file is not tensors by name; the text says what it is."""


def convert(source: str, target: str) -> int:
    """Write the tensors of a pickle as safetensors, read them back and compare; return how many there are.

    Raises:
        UnusableFileError: It holds something else, or cannot be read.
    """
    # safetensors refuses tensors that share memory; a loader finds both names.
    tensors = {name: value.detach().clone().contiguous() for name, value in _read(source).items()}
    save_file(tensors, target, metadata={"format": "pt"})
    with safe_open(target, framework="pt") as written:
        if set(written.keys()) != tensors.keys():
            raise UnusableFileError("other names in the written file")
        for name, value in tensors.items():
            again = written.get_tensor(name)
            same = again.dtype == value.dtype and again.shape == value.shape
            # By bytes: what is NaN must stay NaN.
            if not same or not torch.equal(_bytes(again), _bytes(value)):
                raise UnusableFileError(f"{name} differs in the written file")
    return len(tensors)


def _read(source: str) -> dict[str, torch.Tensor]:
    try:
        stored: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, depending on where the file breaks off
        text = str(error)
        if "Unsupported global" in text or "Unsupported class" in text:
            called = text.partition("GLOBAL ")[2].split(" ")[0] or "something"
            raise UnusableFileError(f"a pickle that holds more than tensors: it asks for {called}") from None
        # An UnpicklingError's text advises to open the file without care.
        more = "" if isinstance(error, pickle.UnpicklingError) else f": {(text.splitlines() or [''])[0]}"
        raise UnusableFileError(f"no whole file of torch.save ({type(error).__name__}{more})") from None
    if not isinstance(stored, dict):
        raise UnusableFileError(f"a {type(stored).__name__} instead of tensors by name")
    others = [str(name) for name, value in stored.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise UnusableFileError(f"no tensors under {', '.join(others[:6])}")
    if not stored:
        raise UnusableFileError("no tensors at all")
    return {str(name): value for name, value in stored.items()}


def _bytes(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(-1).view(torch.uint8)


def main(paths: list[str]) -> None:
    """Convert pairs of source and target; print the number of tensors of each, or what is wrong, and exit with 1."""
    for source, target in zip(paths[::2], paths[1::2], strict=True):
        if not os.path.exists(target):  # who asked was killed, and what it had left was swept away
            raise SystemExit(1)
        try:
            print(convert(source, target), flush=True)
        except UnusableFileError as error:
            print(error, flush=True)
            raise SystemExit(1) from None


if __name__ == "__main__":
    main(sys.argv[1:])
