"""Captions from bytes: plain text or JSON, one or several."""

import json
from typing import Any

from lexiseg.core.errors import InputError
from lexiseg.data.captions.records import CAPTION_NAMES, Rot

#: A caption of more characters is a page, not a caption.
MAX_CHARACTERS = 10_000


class CaptionError(Exception):
    """A caption cannot be used; never leaves this room.

    Attributes:
        reason: Why.
        detail: Why exactly, or empty.
    """

    def __init__(self, reason: Rot, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def parse_text(data: bytes) -> tuple[str, ...]:
    """Read a text as one caption.

    Raises:
        CaptionError: It is not UTF-8, empty or too long.
    """
    return clean_captions(_decode(data))


def parse_json(data: bytes, key: str | None = None) -> tuple[str, ...]:
    """Read captions from a JSON object: a string or a list of strings.

    Args:
        data: Content of the file.
        key: Where the captions are; None looks for a usual name.

    Raises:
        CaptionError: It is not UTF-8, not a JSON object, or holds no caption.
    """
    try:
        content = json.loads(_decode(data))
    except ValueError as error:
        raise CaptionError(Rot.BAD_JSON, str(error)) from error
    if not isinstance(content, dict):
        raise CaptionError(Rot.BAD_JSON, f"a {type(content).__name__} instead of an object")
    keys = (key,) if key else CAPTION_NAMES
    found = next((name for name in keys if name in content), None)
    if found is None:
        raise CaptionError(Rot.NO_CAPTION, f"no {' or '.join(keys[:3])} in the JSON")
    return clean_captions(content[found])


def clean_captions(value: Any) -> tuple[str, ...]:
    """Make a string or a list of strings captions: white space single, empty ones left out.

    Raises:
        CaptionError: None is left, or one is too long.
    """
    texts = value if isinstance(value, list | tuple) else [value]
    if any(text is not None and not isinstance(text, str) for text in texts):
        raise CaptionError(Rot.NO_CAPTION, "a caption that is not text")
    captions = tuple(" ".join(text.split()) for text in texts if text and text.strip())
    if not captions:
        raise CaptionError(Rot.EMPTY_CAPTION if any(text is not None for text in texts) else Rot.NO_CAPTION)
    longest = max(map(len, captions))
    if longest > MAX_CHARACTERS:
        raise CaptionError(Rot.LONG_CAPTION, f"{longest:,} characters")
    return captions


def refuse_empty(num_records: int, num_broken: int, path: str) -> None:
    """Raise where there is no record at all."""
    if not num_records:
        broken = f", and {num_broken:,} broken ones" if num_broken else ""
        raise InputError(
            doing=f"opening the captions in {path}",
            found=f"no picture with a caption{broken}",
            expected="pictures and captions under one name: 000.jpg with 000.txt or 000.json in tar files, "
            "two columns in Parquet, images/ with captions.tsv in a folder",
            fix=f"Look at it with: lexiseg captions check {path}",
        )


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptionError(Rot.NOT_UTF8, f"byte {error.start}") from error
