"""Every error Lexiseg raises on purpose.

LexisegError
├── InputError (ValueError)              something the person gave cannot be used
│   ├── ImageError                       an image cannot be read or is unusable
│   ├── VocabularyError                  the words cannot be used as class names
│   ├── DatasetError                     a folder of data is incomplete or contradicts itself
│   └── UnknownNameError (LookupError)   no model, prompt set or data set of that name
├── WeightsError (OSError)               weights cannot be used
│   ├── MissingWeightsError (FileNotFoundError)
│   └── CheckpointError                  present, but incomplete, mis-shaped or unsafe
├── MissingPackageError (ImportError)    an optional package is not installed
└── OutputError (OSError)                results cannot be written

A message has four parts: what was being done, what was found, what was expected, what to do.
TrainingStopped is no error: somebody asked for it, as with Ctrl-C.
"""

import difflib
from collections.abc import Iterable

#: Names less alike than this (0 to 1, as difflib counts) are not offered: they would only mislead.
_NEAR = 0.4


class LexisegError(Exception):
    """Base of all errors raised on purpose.

    Args:
        doing: What was being done, with the file or name, e.g. ``"reading photo.jpg"``.
        found: What was found there.
        expected: What would have been right.
        fix: What the person can do now.
    """

    def __init__(self, *, doing: str, found: str, expected: str, fix: str) -> None:
        self.doing, self.found, self.expected, self.fix = doing, found, expected, fix
        super().__init__(f"{doing}: found {found}; expected {expected}. {fix}")

    def __str__(self) -> str:  # KeyError and OSError print their arguments otherwise
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:  # crosses process borders in data loaders
        return _rebuild, (type(self), self.doing, self.found, self.expected, self.fix)


def _rebuild(kind: type[LexisegError], doing: str, found: str, expected: str, fix: str) -> LexisegError:
    return kind(doing=doing, found=found, expected=expected, fix=fix)


class InputError(LexisegError, ValueError):
    """Something the person gave cannot be used."""


class ImageError(InputError):
    """An image cannot be read or is unusable."""


class VocabularyError(InputError):
    """The words cannot be used as class names."""


class DatasetError(InputError):
    """A folder of data is incomplete or contradicts itself."""


class UnknownNameError(InputError, LookupError):
    """No model, prompt set or data set of that name."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> "UnknownNameError":
        """Build the error that names the three nearest of ``known`` and lists all of them."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=_NEAR)
        return cls(
            doing=f"looking up the {kind} {name!r}",
            found=f"no {kind} of that name",
            expected=f"one of: {', '.join(names)}",
            fix=f"Nearest: {', '.join(near)}." if near else "None of them is near: choose one.",
        )


class WeightsError(LexisegError, OSError):
    """Weights cannot be used."""


class MissingWeightsError(WeightsError, FileNotFoundError):
    """Weights are not on this machine."""


class CheckpointError(WeightsError):
    """Weights are present but incomplete, mis-shaped or unsafe to load."""


class MissingPackageError(LexisegError, ImportError):
    """An optional package is not installed."""

    @classmethod
    def of(cls, package: str, *, doing: str, extra: str) -> "MissingPackageError":
        """Build the error that names the extra which installs ``package``."""
        return cls(
            doing=doing,
            found=f"no package {package}",
            expected=f"{package}, which comes with the extra {extra!r}",
            fix=f'Run: pip install "lexiseg[{extra}]".',
        )


def as_found(value: object, most: int = 60) -> str:
    """Return how a value out of a file is shown in a message: cut, since it may be of any length."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to write very long ones
        return f"a number of {value.bit_length():,} bits"
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


class OutputError(LexisegError, OSError):
    """Results cannot be written."""


class TrainingStopped(KeyboardInterrupt):
    """A signal asked a training to end, and the checkpoint of its last step is written.

    As Ctrl-C, so that nobody goes on with weights that are half trained.
    """
