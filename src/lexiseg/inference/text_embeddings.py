"""Class embeddings from words: fill the templates, encode, average, normalise, remember on disk."""

import hashlib
import sqlite3
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.cache_folder import default_cache, make_private
from lexiseg.core.errors import VocabularyError
from lexiseg.core.interfaces import TextEncoder
from lexiseg.ops.prompts import PromptSet, fill, find_prompt_set

#: Sentences per call of the encoder: memory does not grow with the vocabulary.
TEXTS_PER_CALL = 256
#: Names finished between two writes to the cache: an interrupted run keeps what it paid for.
NAMES_PER_WRITE = 256
#: Below SQLite's oldest limit of 999 values in one statement.
_KEYS_PER_QUERY = 500

#: Names shown in a message.
_MOST_LISTED = 8

_warned: set[Path] = set()
_said_unreadable: set[str] = set()
_said_partly: set[tuple[str, ...]] = set()


def embed_names(
    encoder: TextEncoder,
    names: Sequence[str],
    prompts: str,
    *,
    cache: Path | Literal["default"] | None = "default",
) -> Float[Tensor, "S D"]:
    """Embed class names, one unit vector each.

    Every name is put into every template of the prompt set, the sentences are encoded, and their
    embeddings are averaged by the set's own rule and L2-normalised. Finished embeddings are kept
    on disk under a key of the encoder's fingerprint, the prompt set's content and the name, so
    that a name is paid for once. A cache that cannot be used costs one warning, never the result.

    Args:
        encoder: Its embeddings need not be normalised. No gradient reaches it.
        names: Class names as written; repeats are encoded once.
        prompts: Name of the prompt set.
        cache: Folder for the cache, ``"default"`` for ``default_cache()``, None for no cache.

    Returns:
        float32 on the encoder's device.

    Raises:
        UnknownNameError: There is no such prompt set.
        VocabularyError: A filled template is longer than the encoder reads, or nothing of a name is known to
            the encoder.
    """
    prompt_set = find_prompt_set(prompts)
    unique = list(dict.fromkeys(names))
    assert unique, "a vocabulary has at least one name"
    refuse_unreadable(encoder, unique)
    path = None if cache is None else _store_path(cache, encoder.fingerprint, prompt_set)
    found = {} if path is None else _read(path, unique)

    missing = [name for name in unique if name not in found]
    for start in range(0, len(missing), NAMES_PER_WRITE):
        block = missing[start : start + NAMES_PER_WRITE]
        fresh = dict(zip(block, _encode(encoder, block, prompt_set), strict=True))
        found.update(fresh)
        if path is not None:
            _write(path, fresh)

    device = next((value.device for value in chain(encoder.parameters(), encoder.buffers())), None)
    return torch.from_numpy(np.stack([found[name] for name in names])).to(device)


def refuse_unreadable(encoder: TextEncoder, names: Sequence[str]) -> None:
    """Refuse names that are unknown tokens only, and say, once, which are so in part.

    Names that the encoder cannot read all get the same embedding: what they would be given is rounding noise.

    Raises:
        VocabularyError: There are such names.
    """
    shares = encoder.unknown_share(names)
    unreadable = [name for name, share in zip(names, shares, strict=True) if share == 1]
    if unreadable:
        raise VocabularyError(
            doing="reading the words with the text encoder",
            found=f"{_listed(unreadable)}, of which the encoder knows nothing: to it, "
            f"{'this is' if len(unreadable) == 1 else 'these are'} the unknown token and nothing else",
            expected="words that the text encoder was trained with",
            fix="Write them in English, which most encoders were trained with, or choose a model whose text encoder "
            "reads them, such as a SigLIP 2 checkpoint.",
        )
    partly = tuple(name for name, share in zip(names, shares, strict=True) if share > 0)
    if partly and partly not in _said_partly:
        _said_partly.add(partly)
        warnings.warn(
            f"The text encoder knows only a part of {_listed(partly)}; the rest is the unknown token to it.",
            stacklevel=3,
        )


def say_unreadable(encoder: TextEncoder, sentences: Sequence[str]) -> None:
    """Say, once an encoder, that there are sentences of unknown tokens only; they all get one embedding."""
    shares = encoder.unknown_share(sentences)
    unreadable = [text for text, share in zip(sentences, shares, strict=True) if share == 1]
    if unreadable and encoder.fingerprint not in _said_unreadable:
        _said_unreadable.add(encoder.fingerprint)
        warnings.warn(
            f"The text encoder can read nothing of {len(unreadable)} of {len(sentences)} sentences "
            f"({_listed([text[:60] for text in unreadable])}): their embeddings are all alike. Further ones are "
            "not reported.",
            stacklevel=3,
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(repr(name) for name in names[:_MOST_LISTED]) + more


def _encode(encoder: TextEncoder, names: list[str], prompt_set: PromptSet) -> Iterator[np.ndarray]:
    """Embed names in groups whose sentences fill one call of the encoder."""
    num_templates = len(prompt_set.templates)
    group_size = max(1, TEXTS_PER_CALL // num_templates)
    for start in range(0, len(names), group_size):
        texts = [text for name in names[start : start + group_size] for text in fill(prompt_set, name)]
        position = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        sentences = list(position)
        with torch.no_grad():
            calls = [
                encoder(sentences[first : first + TEXTS_PER_CALL])
                for first in range(0, len(sentences), TEXTS_PER_CALL)
            ]
            embeddings = torch.cat(calls).float()[[position[text] for text in texts]]
            if prompt_set.ensemble == "normalised":
                embeddings = normalize(embeddings, dim=-1)
            by_name = rearrange(embeddings, "(s t) d -> s t d", t=num_templates)
            finished = normalize(by_name.mean(dim=1), dim=-1).cpu().numpy()
        yield from finished  # outside no_grad, which would otherwise leak into the caller


#: What sqlite3 raises of a file that is damaged or cannot be written; even its message may be no text any more.
_UNUSABLE = (OSError, sqlite3.Error, UnicodeDecodeError, OverflowError)

# The store: one SQLite file per encoder and prompt set. One file holds ten thousand names, several
# processes may write at once, a crash leaves it whole, and nothing in it is ever executed.


def _store_path(cache: Path | Literal["default"], fingerprint: str, prompt_set: PromptSet) -> Path | None:
    content = (fingerprint, prompt_set.templates, prompt_set.ensemble, prompt_set.spelling)
    digest = hashlib.sha256(repr(content).encode("utf-8", "backslashreplace")).hexdigest()
    try:
        folder = default_cache() if cache == "default" else cache
    except RuntimeError as error:
        _warn_once(Path("~/.cache/lexiseg"), error)
        return None
    return folder / "text_embeddings" / f"{prompt_set.name}-{digest[:24]}.sqlite3"


def _key(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _checksum(key: bytes, vector: bytes) -> int:
    """Return the checksum of a row: of the name as well, so that no row is taken for that of another name."""
    return zlib.crc32(vector, zlib.crc32(key))


def _is_whole(key: object, vector: object, checksum: object) -> bool:
    if not (isinstance(key, bytes) and isinstance(vector, bytes) and vector and len(vector) % 4 == 0):
        return False
    return _checksum(key, vector) == checksum


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path.parent)
    connection = sqlite3.connect(path, timeout=10.0)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, vector BLOB, checksum INTEGER)"
    )
    return connection


def _read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Return the stored embeddings of those names that have one; damaged rows count as absent."""
    by_key = {_key(name): name for name in names}
    keys = list(by_key)
    found: dict[str, np.ndarray] = {}
    try:
        if not path.exists():
            return found
        with closing(_connect(path)) as connection:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                part = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, vector, checksum FROM embeddings WHERE key IN ({marks})"
                for key, vector, checksum in connection.execute(query, part):
                    if _is_whole(key, vector, checksum):
                        found[by_key[key]] = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    except _UNUSABLE as error:
        _give_up(path, error)
        return {}
    return found


def _write(path: Path, embeddings: dict[str, np.ndarray]) -> None:
    rows = [
        (key := _key(name), vector := embedding.astype("<f4").tobytes(), _checksum(key, vector))
        for name, embedding in embeddings.items()
        if np.isfinite(embedding).all()
    ]
    try:
        with closing(_connect(path)) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
    except _UNUSABLE as error:
        _give_up(path, error)


def _give_up(path: Path, error: Exception) -> None:
    """Go on without the cache; a file that is damaged is deleted, since all of it can be computed again."""
    is_damaged = type(error) in (sqlite3.DatabaseError, UnicodeDecodeError) or "malformed" in str(error)
    if is_damaged:
        with suppress(OSError):
            path.unlink()
    _warn_once(path, error)


def _warn_once(path: Path, error: Exception) -> None:
    if path not in _warned:
        _warned.add(path)
        warnings.warn(
            f"The text-embedding cache {path} cannot be used ({error}); going on without it, which is "
            "slower but gives the same numbers, but for rounding. Delete that file if it is there, or set LEXISEG_CACHE to a "
            "folder that can be written to.",
            stacklevel=4,
        )
