"""Sources of reference pictures by name."""

from pathlib import Path

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.methods.rim.references.cutouts import CutoutSource
from lexiseg.methods.rim.references.own_folder import FolderSource
from lexiseg.methods.rim.references.sources import ReferenceSource
from lexiseg.ops.salient_object import salient_object


def build_source(name: str, path: Path | None) -> ReferenceSource:
    """Build a source of reference pictures.

    Args:
        name: ``folder`` or ``cutouts``.
        path: Where the pictures are.

    Raises:
        InputError: No path is given.
        UnknownNameError: There is no such source.
        DatasetError: The path has no pictures of that kind.
    """
    if name not in SOURCES:
        raise UnknownNameError.of("source of reference pictures", name, SOURCES)
    if path is None:
        raise InputError(
            doing=f"opening the source {name}",
            found="no path",
            expected="where the pictures are",
            fix="Give it with --from PATH.",
        )
    if name == "folder":
        return FolderSource(path, salient_object, found_by="contrast with the rim of the picture")
    return CutoutSource(path)


#: What ``--source`` takes.
SOURCES = ("cutouts", "folder")
