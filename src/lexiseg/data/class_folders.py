"""Pictures in one folder a class, as for classification."""

from pathlib import Path

from lexiseg.core.errors import DatasetError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def read_class_folders(path: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """List the pictures of ``path/CLASS/…`` in order of their names.

    Args:
        path: Holds one folder a class; underscores in its name stand for spaces.

    Returns:
        Class names in order, and each picture with the index of its class.

    Raises:
        DatasetError: There is no folder with pictures.
    """
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
    found = {
        folder: sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        for folder in folders
    }
    filled = [folder for folder in folders if found[folder]]
    if not filled:
        raise DatasetError(
            doing=f"reading pictures by class from {path}",
            found="no folder with pictures in it" if path.is_dir() else "no such folder",
            expected=f"one folder a class: {path.name}/cat/1.jpg, {path.name}/dog/2.jpg",
            fix="Give the folder above the folders of the classes.",
        )
    names = tuple(folder.name.replace("_", " ") for folder in filled)
    return names, [(file, label) for label, folder in enumerate(filled) for file in found[folder]]
