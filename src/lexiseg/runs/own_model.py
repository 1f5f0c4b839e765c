"""A person's own model, named as ``package.module:function``.

The name is an import and a call: it runs code. Only a person gives such a name, on the command line or to
``lexiseg.load``; no file that is read, such as a run's recipe, is taken for one.
"""

import re
from importlib import import_module

from lexiseg.core.errors import InputError
from lexiseg.inference.segmenter import Segmenter

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own_model(name: str) -> bool:
    """Return whether a string has the form ``package.module:function``."""
    return _NAME.fullmatch(name) is not None


def build_own_model(name: str) -> Segmenter:
    """Import the module, call the function without arguments, and check that it gives a ``Segmenter``.

    Raises:
        InputError: It cannot be imported, or gives something else.
    """
    module, _, function = name.partition(":")
    expected = "package.module:function, a function without arguments that gives a lexiseg.Segmenter"
    try:
        built = getattr(import_module(module), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(
            doing=f"loading your own model {name}",
            found=f"{type(error).__name__}: {error}",
            expected=expected,
            fix="Check the names; for a module in the present folder, run with PYTHONPATH=. set.",
        ) from error
    if not isinstance(built, Segmenter):
        raise InputError(
            doing=f"loading your own model {name}",
            found=f"a function that gives a {type(built).__name__}",
            expected=expected,
            fix="Return an instance of your subclass of lexiseg.Segmenter.",
        )
    built.name = name
    return built
