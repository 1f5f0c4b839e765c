"""Errors keep their four parts and their built-in kin."""

import pickle

import pytest

from lexiseg.core import errors


def test_message_has_four_parts():
    error = errors.ImageError(
        doing="reading a.jpg", found="an empty file", expected="an image", fix="Copy it."
    )
    assert str(error) == "reading a.jpg: found an empty file; expected an image. Copy it."


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ImageError, ValueError),
        (errors.VocabularyError, ValueError),
        (errors.DatasetError, ValueError),
        (errors.UnknownNameError, LookupError),
        (errors.MissingWeightsError, FileNotFoundError),
        (errors.CheckpointError, OSError),
        (errors.MissingPackageError, ImportError),
        (errors.OutputError, OSError),
    ],
)
def test_each_error_is_a_builtin_too_and_survives_a_process_border(kind, builtin):
    error = kind(doing="a", found="b", expected="c", fix="d")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, builtin)
    assert isinstance(again, errors.LexisegError)
    assert str(again) == "a: found b; expected c. d"


def test_tree_in_the_docstring_is_the_tree_in_the_code():
    classes = {c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)}
    drawn = {name for name in classes if name in (errors.__doc__ or "")}
    assert drawn == classes


def test_unknown_name_gives_the_three_nearest_and_the_list():
    error = errors.UnknownNameError.of("model", "minni", ["mini", "maxi", "midi", "zzz"])
    assert "one of: maxi, midi, mini, zzz" in str(error)
    assert error.fix.startswith("Nearest: mini, ")
