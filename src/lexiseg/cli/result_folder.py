"""The folder of results: one request at a time, written down before the first result."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import InputError
from lexiseg.core.folder_lock import busy, writing_alike
from lexiseg.core.json_text import read_json_file
from lexiseg.core.result_files import FACTS, LABELS, RASTER_LABELS, has_parts, read_facts, result_paths

#: Hidden, and no .json, so that it is taken for the result of no image.
REQUEST_FILE = ".lexiseg-request"
_MOST_SHOWN = 3


@contextmanager
def claimed(
    out: Path, request: Mapping[str, Any], stems: Callable[[], Iterable[str]], *, overwrite: bool
) -> Iterator[None]:
    """Keep runs with other words or settings out of a folder of results while the block runs.

    What is asked for is written to the folder. Runs that ask for the same may write there together.

    Args:
        out: The folder; made if it is not there.
        request: What ``Segmenter.describe`` says of the words and settings.
        stems: Lists the results that the run is going to write; asked only about a folder of an earlier version.
        overwrite: Take the folder over from another request.

    Raises:
        InputError: The folder holds results of another request, or a run with one writes there now.
        OutputError: The folder cannot be written.
    """

    def claim(alone: bool) -> None:
        differing = _differing(out, request, stems)
        if differing and not alone:
            raise busy(out)
        if differing and not overwrite and _has_results(out):
            raise InputError(
                doing=f"writing results to {out}",
                found=f"results of another request there: {'; '.join(differing[:_MOST_SHOWN])}",
                expected="a folder of its own for each request, so that labels and words stay together",
                fix="Choose another folder with --out, or replace them with --overwrite.",
            )
        if alone:
            with atomic_path(out / REQUEST_FILE) as temporary:
                text = json.dumps(dict(request), indent=1, ensure_ascii=False)
                temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")

    with writing_alike(out, claim):
        yield


def count_other_results(out: Path, request: Mapping[str, Any]) -> int:
    """Count the results in a folder and below it that another request made."""
    count = 0
    for here, _, names in os.walk(out):
        for name in names:
            if name.endswith((LABELS, RASTER_LABELS)):
                stem = name.removesuffix(LABELS).removesuffix(RASTER_LABELS)
                facts = read_facts(os.path.join(here, stem + FACTS))
                count += facts is not None and bool(_changes(facts, request))
    return count


def _has_results(out: Path) -> bool:
    return has_parts(out) or any(
        name.endswith((LABELS, RASTER_LABELS)) for _, _, names in os.walk(out) for name in names
    )


def _differing(out: Path, request: Mapping[str, Any], stems: Callable[[], Iterable[str]]) -> list[str]:
    """Say how the request that a folder holds results of differs from this one; empty if it does not."""
    try:
        there = read_json_file(out / REQUEST_FILE)
    except (OSError, ValueError):
        there = None
    if isinstance(there, dict):
        return _changes(there, request)
    for stem in stems() if _has_results(out) else ():  # of an earlier version
        facts = read_facts(result_paths(out, stem)["json"])
        if facts is not None and (changes := _changes(facts, request)):
            return changes
    return []


def _changes(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    before, after = _flat(there, wanted), _flat(wanted, wanted)
    return [
        f"{name} = {_short(before.get(name))} instead of {_short(after.get(name))}"
        for name in {**after, **before}
        if before.get(name) != after.get(name)
    ]


def _flat(content: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Put nested settings beside each other, under the names of the outermost keys of ``wanted`` only."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if not prefix and name not in wanted:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}".removeprefix("settings.")] = value
    return flat


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
