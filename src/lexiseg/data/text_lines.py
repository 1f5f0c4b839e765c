"""Read the small text files that come with data sets: lists of images, names, tables."""

from pathlib import Path

from lexiseg.core.errors import DatasetError


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, stripped, without empty ones.

    Raises:
        DatasetError: The file cannot be read as UTF-8 text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            doing=f"reading {path}",
            found=str(error),
            expected="a UTF-8 text file",
            fix="Copy it again from its source, or save it as UTF-8.",
        ) from error
    return [line.strip() for line in lines if line.strip()]
