"""What the system refuses, told as every other error: what was done, what was found, expected, to do."""

import errno
import os

from lexiseg.core.errors import LexisegError, OutputError

#: What would have been right, and what a person can do, by the system's error number.
_KNOWN = {
    errno.EACCES: ("permission to use it", "Change its permissions, or name another path."),
    errno.EPERM: ("permission to use it", "Change its permissions, or name another path."),
    errno.EROFS: ("a place that can be written to", "Choose a path on a disk that is not read-only."),
    errno.ENOSPC: (
        "room on the disk",
        "Free some space, or choose another disk; then run the same command again.",
    ),
    errno.EDQUOT: ("room within your quota", "Free some space, or choose another disk; then run it again."),
    errno.ENAMETOOLONG: ("a shorter name", "Shorten the name, or that of a folder above it."),
    errno.EISDIR: ("a file", "Name a file, not a folder."),
    errno.ENOTDIR: ("a folder", "A part of that path is a file: name another path."),
    errno.ELOOP: ("a link that ends somewhere", "The link leads back to itself: mend or remove it."),
    errno.ENOENT: ("a file there", "Check the path; it may have been moved while the command ran."),
    errno.EEXIST: ("nothing there yet", "Remove what is there, or choose another path."),
    errno.EMFILE: ("fewer open files", "Raise the limit with: ulimit -n 4096"),
    errno.EIO: (
        "a disk that can be read",
        "Check the disk and its connection, then copy the file elsewhere.",
    ),
    errno.ESTALE: ("a network disk that answers", "Mount it again, then run the same command again."),
}
_OTHER = (
    "an answer of the system without an error",
    "See what is at that path, and run the same command again.",
)


def explain_system_error(command: str, error: OSError) -> LexisegError:
    """Return the four-part error for what the system said while a command ran."""
    paths = [os.fsdecode(path) for path in (error.filename, error.filename2) if isinstance(path, str | bytes)]
    where = f": {' -> '.join(paths)}" if paths else ""
    expected, fix = _KNOWN.get(error.errno or 0, _OTHER)
    return OutputError(
        doing=f"running lexiseg {command}",
        found=f"{error.strerror or str(error) or type(error).__name__}{where}",
        expected=expected,
        fix=fix,
    )
