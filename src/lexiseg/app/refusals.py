"""What a server answers when it does not do what was asked: a status and a message in four parts, as everywhere."""

from collections.abc import Mapping
from typing import Any

from lexiseg.core.errors import InputError, LexisegError, MissingPackageError


class RefusalError(LexisegError):
    """A request that is not answered with what was asked for.

    Args:
        status: Of HTTP.
        doing: As for every error.
        found: Likewise.
        expected: Likewise.
        fix: Likewise.
        retry_after: Seconds after which it may work; None where it will not.
    """

    def __init__(
        self,
        status: int,
        *,
        doing: str,
        found: str,
        expected: str,
        fix: str,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(doing=doing, found=found, expected=expected, fix=fix)
        self.status, self.retry_after = status, retry_after


def status_of(error: LexisegError) -> int:
    """Return the status that goes with an error."""
    if isinstance(error, RefusalError):
        return error.status
    if isinstance(error, MissingPackageError):
        return 501
    return 422 if isinstance(error, InputError) else 500


def as_json(error: LexisegError) -> dict[str, Any]:
    """Return the body that goes with an error."""
    return {
        "error": {
            "doing": error.doing,
            "found": error.found,
            "expected": error.expected,
            "fix": error.fix,
        }
    }


def headers_of(error: LexisegError) -> Mapping[str, str]:
    """Return the headers that go with an error."""
    after = error.retry_after if isinstance(error, RefusalError) else None
    return {} if after is None else {"Retry-After": str(after)}
