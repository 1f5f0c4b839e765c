"""The one place that reads JSON: what a program can trip over later is refused here.

Python's own reader overflows its stack on nested lists, takes the last of two equal keys in silence, and makes
whole numbers that no array can hold.
"""

import json
from pathlib import Path
from typing import Any

#: Levels of lists and objects; no format that is read here has more than a few.
MAX_DEPTH = 64
#: Of a file, unless its reader knows of larger ones.
MAX_BYTES = 64 << 20
_LEAST_INT, _MOST_INT = -(1 << 63), (1 << 64) - 1


class JsonError(ValueError):
    """A text is not JSON, or JSON that is not read; the message says why."""


class RefusedJsonError(JsonError):
    """A text is JSON that is not read: too deep, too large, or with a key twice."""


def decode_json(text: str | bytes) -> Any:
    """Read JSON as plain values; NaN and Infinity, which Python writes, are numbers.

    Args:
        text: The text, or its bytes in UTF-8.

    Raises:
        JsonError: It is not JSON, a key stands twice in an object, a whole number has more than 64 bits, or it is
            nested more than ``MAX_DEPTH`` deep.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=_object, parse_int=_whole_number)
    except RecursionError as error:
        raise RefusedJsonError(f"lists or objects nested more than {MAX_DEPTH} deep") from error
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError(str(error)) from error
    _refuse_deep(content)
    return content


def read_json_file(path: str | Path, max_bytes: int = MAX_BYTES) -> Any:
    """Read a JSON file as plain values.

    Args:
        path: The file, in UTF-8.
        max_bytes: A larger one is not read.

    Raises:
        OSError: The file cannot be read.
        JsonError: As ``decode_json``, or it is larger, or no plain file.
    """
    path = Path(path)
    size = path.stat().st_size
    if not path.is_file():  # a pipe would wait for ever
        raise RefusedJsonError("a folder, pipe or device instead of a file")
    if size > max_bytes:
        raise RefusedJsonError(f"{size:,} bytes, more than the {max_bytes:,} that such a file may have")
    return decode_json(path.read_bytes())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RefusedJsonError(f"the key {twice[:100]!r} twice in one object")
    return content


def _whole_number(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else _MOST_INT + 1
    if not _LEAST_INT <= value <= _MOST_INT:
        raise RefusedJsonError(f"a whole number of more than 64 bits ({digits[:30]}…)")
    return value


def _refuse_deep(content: Any) -> None:
    level = [content]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += [value for value in each.values() if isinstance(value, dict | list)]
            elif isinstance(each, list):
                inner += [value for value in each if isinstance(value, dict | list)]
        if not inner:
            return
        level = inner
    raise RefusedJsonError(f"lists or objects nested more than {MAX_DEPTH} deep")
