"""Compiled loops: numba's ``njit``, with a cache of machine code on disk that is checked before it is run.

numba believes what lies in its cache: a damaged file is an error in every command or wrong machine code, a full disk
ends the run, and where no folder can be written the import fails. Here a file carries a checksum of its bytes and of
the source it belongs to; what does not fit is compiled again, and what cannot be kept is compiled in every run.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

_DIGEST_BYTES = 32
_warned: set[str] = set()


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, as ``numba.njit`` does.

    Args:
        cache: Keep the machine code on disk, where numba keeps it (``NUMBA_CACHE_DIR``).
        options: Of ``numba.njit``.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        if cache:
            try:
                dispatcher._cache = _CheckedCache(function)
            except (RuntimeError, OSError) as error:  # no folder that can be written
                _warn_once(f"compiled loops cannot be kept: {error}")
        return dispatcher

    return compiled


class _CheckedCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, which never ends a run."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _CheckedFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever an unreadable file gives: it is as good as none
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(f"compiled loops cannot be kept in {self._cache_path}: {error.strerror or error}")


class _CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]
    """The files of one function's cache: what numba keeps, and behind it a digest, which numba does not look at."""

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if self._is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not self._is_whole(self._data_path(name)):
            raise FileNotFoundError(name)  # what numba takes for a file that is gone
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + self._digest(content.getvalue()))

    def _is_whole(self, path: str) -> bool:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            return False
        return content[-_DIGEST_BYTES:] == self._digest(content[:-_DIGEST_BYTES])

    def _digest(self, content: bytes) -> bytes:
        # with the source's stamp: after a kill, an index may name machine code of an earlier source
        return hashlib.sha256(repr((self._version, self._source_stamp)).encode() + content).digest()


def _warn_once(text: str) -> None:
    if not _warned:
        warnings.warn(
            f"{text}. They are compiled again in every run, which takes some seconds. Set NUMBA_CACHE_DIR to a folder "
            "that can be written to.",
            stacklevel=4,
        )
    _warned.add(text)
