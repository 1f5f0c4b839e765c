"""Write files whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lexiseg.core.errors import OutputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it over ``path`` when the block succeeds.

    The temporary file is removed when the block fails or is interrupted, so that a reader of
    ``path`` sees the old file, the new file, or none: never half of one.

    Raises:
        OutputError: The folder cannot be made or written, or is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise _output_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _output_error(path: Path, error: OSError) -> OutputError:
    fixes = {
        errno.ENOSPC: "Free some space or choose another folder with --out, then run the same command again: it goes on.",
        errno.EDQUOT: "Your quota is used up: free some space or choose another folder with --out.",
        errno.ENOTDIR: "A part of that path is a file: choose another folder with --out.",
        errno.EEXIST: "A file has the name of that folder: choose another folder with --out.",
    }
    return OutputError(
        doing=f"writing {path}",
        found=error.strerror or str(error),
        expected="a folder that can be written to, with room for the results",
        fix=fixes.get(error.errno or 0, "Choose another folder with --out, or change its permissions."),
    )
