"""TrainedOn: which files a model was trained on, by their content, so that scores on them can be told from others."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lexiseg.core.atomic_write import atomic_path

#: Bytes hashed at either end of a file: all of most photographs, and little of a tar shard.
_END_BYTES = 1 << 16
_MOST_NAMED = 3


def content_fingerprint(path: Path) -> str | None:
    """Hash the size of a file and both of its ends; None where there is no such file.

    Copies under other names have the same; an image that was saved again has another.

    Returns:
        16 hexadecimal digits.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(b"%d " % size)
            digest.update(file.read(_END_BYTES))
            if size > 2 * _END_BYTES:
                file.seek(-_END_BYTES, os.SEEK_END)
            digest.update(file.read())
    except OSError:
        return None
    return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """The files that a model has seen in training.

    Attributes:
        contents: Fingerprints of their content.
        stems: Their names, without folder and ending.
    """

    contents: frozenset[str] = field(repr=False)
    stems: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def read(cls, path: Path) -> "TrainedOn | None":
        """Read what ``write_trained_on`` wrote; None where there is no such file, as in runs of earlier versions."""
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
        return cls(
            contents=frozenset(row[0] for row in rows),
            stems=frozenset(Path(row[1]).stem for row in rows if len(row) > 1),
        )

    def among(self, files: Iterable[Path | None]) -> list[int]:
        """Return the places of the files that training has seen, whatever they are called."""
        if not self.contents:
            return []
        return [
            place
            for place, file in enumerate(files)
            if file is not None and content_fingerprint(file) in self.contents
        ]

    def alike_by_name(self, files: Sequence[Path]) -> list[int]:
        """Return the places of files that are called like one that training has seen and have other content.

        They can be the same images, saved again, or others of the same number.
        """
        seen = set(self.among(files))
        return [place for place, file in enumerate(files) if file.stem in self.stems and place not in seen]


def write_trained_on(path: Path, files: Sequence[Path]) -> None:
    """Write fingerprint and name of every file that training reads, a line each.

    Raises:
        OutputError: The folder cannot be written.
    """
    known = ((content_fingerprint(file), file) for file in files)
    lines = [f"{content}\t{_one_line(file)}\n" for content, file in known if content is not None]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")


def trained_on_note(stems: Sequence[str], total: int) -> str:
    """Say that images which are scored were trained on; a score on them says little of new images."""
    shown = ", ".join(stems[:_MOST_NAMED]) + (", …" if len(stems) > _MOST_NAMED else "")
    return (
        f"{len(stems):,} of {total:,} images are ones that this model was trained on ({shown}): "
        "the score says little about new images"
    )


def alike_by_name_note(stems: Sequence[str], total: int) -> str:
    """Say that images are called like ones that were trained on: if they are the same, a score says little."""
    shown = ", ".join(stems[:_MOST_NAMED]) + (", …" if len(stems) > _MOST_NAMED else "")
    return (
        f"{len(stems):,} of {total:,} images are called like ones that this model was trained on ({shown}), with other "
        "content: if they are the same images, saved again, the score says little about new ones"
    )


def _one_line(file: Path) -> str:
    return " ".join(str(file).split("\n"))
