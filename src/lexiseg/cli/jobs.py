"""Which pictures to segment, where their results go, and which are done already."""

import json
from glob import glob
from pathlib import Path

from lexiseg.core.errors import InputError


def plan_jobs(patterns: tuple[str, ...], out: Path) -> list[tuple[Path, str]]:
    """List pictures with the stem of their results; results of one folder keep its subfolders."""
    from lexiseg.data.images import IMAGE_SUFFIXES

    found: dict[Path, Path] = {}  # picture -> path below what was named, for the results' folder
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            for inner in sorted(path.rglob("*")):
                is_result = out.resolve() in inner.resolve().parents
                if inner.suffix.lower() in IMAGE_SUFFIXES and inner.is_file() and not is_result:
                    found.setdefault(inner, inner.relative_to(path))
        elif path.is_file() or not (matches := _glob(pattern)):
            found.setdefault(path, Path(path.name))  # a missing file is reported with the failures
        else:
            for match in matches:
                found.setdefault(match, Path(match.name))
    if not found:
        raise InputError(
            doing=f"looking for pictures in {', '.join(patterns) or 'nothing'}",
            found="none",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
            fix="Name a picture, a folder or a glob: lexiseg segment photos/ --words …",
        )
    stems: dict[str, int] = {}
    jobs = []
    for path, relative in found.items():
        stem = relative.with_suffix("").as_posix()
        repeat = stems.setdefault(stem, 0)
        stems[stem] += 1
        jobs.append((path, f"{stem}-{repeat + 1}" if repeat else stem))
    return jobs


def _glob(pattern: str) -> list[Path]:
    return [Path(match) for match in sorted(glob(pattern, recursive=True)) if Path(match).is_file()]


def is_done(out: Path, stem: str, source: Path, request: dict[str, object]) -> bool:
    """Tell whether all results are there, newer than the picture and made by the same request."""
    facts = out / f"{stem}.json"
    try:
        if any(not (out / f"{stem}{end}").is_file() for end in (".labels.png", ".overlay.png")):
            return False
        if facts.stat().st_mtime <= source.stat().st_mtime:
            return False
        done = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(done, dict) and {key: done.get(key) for key in request} == request
