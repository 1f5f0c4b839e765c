"""Class lists in the forms that people have: lines, numbered lines, tables with a header, JSON, labelme's.

What is recognised for certain is read; what could mean two things is refused with what was seen, because a list
that is read in another sense gives every pixel another name, and nothing shows it.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lexiseg.core.errors import VocabularyError
from lexiseg.core.json_text import JsonError, RefusedJsonError, decode_json
from lexiseg.core.whole_numbers import whole_number
from lexiseg.core.word_lists import refuse_other_separators, shortened, split_words

#: A class: its name, and further names.
Entry: TypeAlias = tuple[str, tuple[str, ...]]

_NUMBER_FIRST = re.compile(r"\s*(\d{1,18})(?:\s*[\t,;:]\s*|\.\s+|\s+)(\S.*)", re.DOTALL)
_NUMBER_LAST = re.compile(r"(.*\S)\s*[\t,;:]\s*(\d{1,18})\s*", re.DOTALL)
_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*')
_NAME_COLUMNS = ("name", "class_name", "classname", "class name", "class", "category", "label")
_NUMBER_COLUMNS = (
    "id",
    "index",
    "idx",
    "class_id",
    "label_id",
    "trainid",
    "train_id",
    "label",
    "value",
    "class",
)
_HEADERS = frozenset({*_NAME_COLUMNS, "names", "classes", "labels", "categories"})
_IGNORED, _BACKGROUND = "__ignore__", "_background_"


def class_list_entries(text: str) -> list[Entry]:
    """Read the classes of a list in label order.

    Args:
        text: Content of the file.

    Raises:
        VocabularyError: The form is not known for certain; the message says what was seen.
    """
    if (content := _json_or_none(text)) is not None:
        return _from_json(content)
    lines = text.split("\n")  # splitlines would cut at form feeds too
    while lines and not lines[-1].strip():
        lines.pop()
    lines = [line.rstrip("\r") for line in lines]
    if not lines:
        return []
    if lines[0].strip() == _IGNORED:  # labelme gives it the label -1
        lines = lines[1:]
    if (table := _table(lines)) is not None:
        return table
    numbered = _without_numbers(lines)
    return [_entry(line, number) for number, line in enumerate(numbered, 1)]


def _entry(line: str, number: int) -> Entry:
    name, _, rest = line.partition("\t")
    further = tuple(split_words(rest))
    if quoted := _QUOTED.fullmatch(name):
        return quoted[1].replace('""', '"'), further
    stripped = name.strip()
    if stripped == _BACKGROUND:
        return "background", further
    if stripped == _IGNORED:
        raise _unclear(
            f"{_IGNORED} in line {number}", "Put it first, as labelme does, or leave the line out."
        )
    if stripped.startswith(("# ", "- ")) or stripped.endswith(":"):
        raise _unclear(
            f"{shortened(stripped)} in line {number}, which looks like a comment or YAML",
            "Leave such lines out: one class name a line. Double quotes keep a name as it is.",
        )
    if number == 1 and stripped.lower() in _HEADERS:
        raise _unclear(
            f"{shortened(stripped)} in line 1, which looks like the header of a table",
            f'Leave the line out, or write "{stripped}" in double quotes if it is a class.',
        )
    if "," in stripped:
        raise _unclear(
            f"{shortened(stripped)} in line {number}: a comma, and no tab",
            "Further names of a class follow a tab (cat, tab, kitten, kitty); other classes go on lines of their own;"
            " a name that holds a comma goes into double quotes.",
        )
    refuse_other_separators(stripped)
    return name, further


def _without_numbers(lines: Sequence[str]) -> Sequence[str]:
    """Take the numbers 0, 1, … off lines that all have one, and put the lines into their order."""
    for pattern, number_at, name_at in ((_NUMBER_FIRST, 1, 2), (_NUMBER_LAST, 2, 1)):
        matches = [pattern.fullmatch(line) for line in lines]
        if not all(matches):
            continue
        found = [(int(match[number_at]), match[name_at]) for match in matches if match]
        numbers = [number for number, _ in found]
        if sorted(numbers) == list(range(len(lines))):
            return [name for _, name in sorted(found)]
        if len(lines) > 1 and len(set(numbers)) == len(numbers) and numbers == sorted(numbers):
            raise _other_numbers(numbers)
    return lines


def _table(lines: Sequence[str]) -> list[Entry] | None:
    """Read a table whose first line names its columns; None where it does not."""
    separator = next((mark for mark in "\t,;" if mark in lines[0]), None)
    if separator is None:
        return None
    rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    header = [cell.strip().lower() for cell in rows[0]]
    known = {*_NAME_COLUMNS, *_NUMBER_COLUMNS}
    if sum(cell in known for cell in header) < min(2, len(header)) or len(set(header)) < len(header):
        return None
    rows = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    names = next((header.index(name) for name in _NAME_COLUMNS if _holds_names(header, rows, name)), None)
    if names is None or any(len(row) != len(header) for row in rows):
        raise _unclear(
            f"a table with the columns {', '.join(header)}",
            "Write one class name a line, or a table with the columns id and name.",
        )
    numbers = next(
        (header.index(name) for name in _NUMBER_COLUMNS if _holds_numbers(header, rows, name)), None
    )
    if numbers is None:
        return [(row[names].strip(), ()) for row in rows]
    return _in_order(
        [(number, row[names].strip()) for row in rows if (number := whole_number(row[numbers])) is not None]
    )


def _holds_names(header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> bool:
    return name in header and not _holds_numbers(header, rows, name)


def _holds_numbers(header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> bool:
    if name not in header:
        return False
    place = header.index(name)
    return bool(rows) and all(len(row) > place and whole_number(row[place]) is not None for row in rows)


def _json_or_none(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return decode_json(text)
    except RefusedJsonError as error:
        raise _unclear(f"JSON with {error}", _JSON_FIX) from error
    except JsonError:
        return None


def _from_json(content: Any) -> list[Entry]:
    if isinstance(content, list):
        if all(isinstance(name, str) for name in content):
            return [(name, ()) for name in content]
        if all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in content):
            if not any("id" in entry for entry in content):
                return [(entry["name"], ()) for entry in content]
            if all(_is_number(entry.get("id")) for entry in content):
                return _in_order([(int(entry["id"]), entry["name"]) for entry in content])
        raise _unclear(f"a JSON list of {shortened(json.dumps(content[:2], ensure_ascii=False))}", _JSON_FIX)
    for key in ("id2label", "categories", "names", "classes"):
        if isinstance(content.get(key), dict | list):
            return _from_json(content[key])
    return _from_mapping(content)


_JSON_FIX = 'Write ["cat", "sofa"] in label order, {"0": "cat", "1": "sofa"}, or one class name a line.'


def _from_mapping(content: Mapping[str, Any]) -> list[Entry]:
    values = list(content.values())
    if content and all(_is_number(key) for key in content) and all(isinstance(v, str) for v in values):
        return _in_order([(int(key), value) for key, value in content.items()])
    if content and all(_is_number(value) for value in values):
        return _in_order([(int(value), key) for key, value in content.items()])
    if content and all(isinstance(v, list) and all(isinstance(word, str) for word in v) for v in values):
        return [(name, tuple(words)) for name, words in content.items()]
    raise _unclear(f"JSON with the keys {shortened(', '.join(content))}", _JSON_FIX)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return whole_number(value) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def _in_order(pairs: Sequence[tuple[int, str]]) -> list[Entry]:
    numbers = sorted(number for number, _ in pairs)
    if numbers != list(range(len(pairs))):
        raise _other_numbers(numbers)
    return [(name, ()) for _, name in sorted(pairs)]


def _other_numbers(numbers: Sequence[int]) -> VocabularyError:
    shown = ", ".join(map(str, numbers[:6])) + (", …" if len(numbers) > 6 else "")
    return _unclear(
        f"{len(numbers)} classes with the numbers {shown}",
        "Labels count from 0 without gaps: write one class name a line in the order of the labels, with a line for 0"
        " (such as background) where 0 has a meaning of its own.",
    )


def _unclear(found: str, fix: str) -> VocabularyError:
    return VocabularyError(
        doing="reading a class list",
        found=found,
        expected="one class name a line in label order (further names after a tab), the same numbered 0, 1, …,"
        " a table with a header, or JSON",
        fix=fix,
    )
