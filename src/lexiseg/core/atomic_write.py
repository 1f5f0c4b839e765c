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
        os.chmod(temporary, 0o666 & ~_UMASK)  # mkstemp makes private files
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise output_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def refuse_unwritable(path: Path) -> None:
    """Find out now whether ``path`` can be written later, before long work is done for it.

    Raises:
        OutputError: It cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".lexiseg."):
            pass
    except OSError as error:
        raise output_error(path, error) from error


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask


#: Of the process, read once: setting it for a moment would be seen by other threads.
_UMASK = _umask()


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error that says why ``path`` cannot be written and what to do."""
    fixes = {
        errno.ENOSPC: "Free some space or choose another folder (--out, --json), then run the same command again: it goes on.",
        errno.EDQUOT: "Your quota is used up: free some space or choose another folder (--out, --json).",
        errno.ENOTDIR: "A part of that path is a file: choose another folder (--out, --json).",
        errno.EEXIST: "A file has the name of that folder: choose another folder (--out, --json).",
    }
    return OutputError(
        doing=f"writing {path}",
        found=error.strerror or str(error),
        expected="a folder that can be written to, with room for the results",
        fix=fixes.get(error.errno or 0, "Choose another folder (--out, --json), or change its permissions."),
    )
