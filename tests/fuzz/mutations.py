"""Damage inputs at random, feed them to a reader, and keep what it should not have done.

A reader may return a result or refuse with an error of ours; anything else, more than ``LIMIT_SECONDS`` of the processor
or more than ``LIMIT_MEGABYTES`` of new memory is a finding. Findings are made small and, in long runs (``make fuzz``),
written to ``corpus/NAME/``, which is replayed by every run from then on.

``LEXISEG_FUZZ_EXAMPLES``: inputs a test; without it, as many as take a fraction of a second.
``LEXISEG_FUZZ_SEED``: of the random numbers; 0 without it, so that the suite does the same each time.
"""

import copy
import hashlib
import json
import os
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from lexiseg.core.errors import LexisegError

CORPUS = Path(__file__).parent / "corpus"
LIMIT_SECONDS = 10.0
#: Times that by the clock: the machine may be busy, but a reader that waits for ever is found too.
_WAITING = 12
LIMIT_MEGABYTES = 1500

#: Numbers at which formats break.
BOUNDARIES = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32,
              2**53, 2**63 - 1, 2**63, -(2**63), 2**64 - 1)  # fmt: skip
_PACKED = [
    struct.pack(order + kind, value)
    for value in BOUNDARIES
    for order in "<>"
    for kind, low, high in (
        ("B", 0, 2**8),
        ("H", 0, 2**16),
        ("i", -(2**31), 2**31),
        ("q", -(2**63), 2**63),
        ("Q", 0, 2**64),
    )
    if low <= value < high
]
_FLOATS = [struct.pack("<f", float(text)) for text in ("nan", "inf", "-inf", "0", "-1", "1e38", "1e-45")]
_TEXTS = ["", " ", "\0", "a/b", "../../x", "\x1b[31m", "[bold]", "\ud800", "é" * 300, "NaN", "-1", "con"]


def num_examples(default: int) -> int:
    """Return how many inputs a test tries: ``default``, or what ``LEXISEG_FUZZ_EXAMPLES`` says."""
    return int(os.environ.get("LEXISEG_FUZZ_EXAMPLES") or default)


def mutated(data: bytes, random: Random) -> bytes:
    """Return bytes with one to four damages: flipped bits, cuts, repeats, insertions, numbers at boundaries."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _damage(changed, random)
    return bytes(changed)


def _damage(data: bytearray, random: Random) -> None:
    size = len(data)
    at = random.randrange(size) if size else 0
    stop = min(size, at + random.choice((1, 2, 4, 8, 64, 512)))
    kind = random.randrange(8)
    if kind <= 1 and size:
        data[at] ^= 1 << random.randrange(8)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        del data[at:stop]
    elif kind == 4:
        data[at:at] = random.randbytes(stop - at or 4)
    elif kind == 5:
        other = random.randrange(size) if size else 0
        data[other:other] = data[at:stop]
    elif kind == 6:
        packed = random.choice(_PACKED + _FLOATS)
        data[at : at + len(packed)] = packed
    else:
        data[at:stop] = bytes(stop - at)


def mutated_json(value: Any, random: Random) -> Any:
    """Return a deep copy of plain values with one to three damages at random places.

    A value is replaced by one of another type or at a boundary, left out, repeated, nested, or exchanged for another
    value of the same document.
    """
    changed = {"": copy.deepcopy(value)}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        holder, key = random.choice(places)
        what = random.randrange(10)
        if what == 0 and holder is not changed:
            del holder[key]
        elif what == 1 and isinstance(holder[key], list):
            holder[key] = holder[key] * 2
        elif what == 2:
            other, name = random.choice(places)
            holder[key] = copy.deepcopy(other[name])
        elif what == 3 and isinstance(holder[key], dict):
            holder[key]["unheard-of"] = 1
        elif what == 4:
            holder[key] = [holder[key]]
        else:
            holder[key] = _other_value(holder[key], random)
    return changed[""]


def mutated_numbers(value: Any, random: Random) -> Any:
    """Return a deep copy of plain values with one or two numbers replaced by others of their type: what types let in."""
    changed = {"": copy.deepcopy(value)}
    numbers = [(holder, key) for holder, key in _places(changed) if type(holder[key]) in (int, float)]
    for holder, key in random.choices(numbers, k=random.choice((1, 2))):
        if isinstance(holder[key], int):
            holder[key] = random.choice([*BOUNDARIES, 3, 7, 1000, 10**6, -holder[key]])
        else:
            holder[key] = random.choice([0.0, -1.0, 1e-300, 1e300, 0.5, 2.0, 1e6, -holder[key]])
    return changed[""]


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def _other_value(value: Any, random: Random) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.6:
        return random.choice([*BOUNDARIES, value + 1, value - 1, -value])
    if isinstance(value, float) and random.random() < 0.6:
        return random.choice([float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e308, 1e-320, value * 2])
    if isinstance(value, str) and random.random() < 0.6:
        return random.choice([*_TEXTS, value + "x", value[:-1], value.upper()])
    return random.choice(
        [None, True, False, 0, -1, 1.5, float("nan"), 10**30, "", "x", [], {}, [None], {"": None}]
    )


class BadOutcomeError(AssertionError):
    """A reader did something else than giving a result or refusing."""


def fuzz(
    name: str,
    seeds: Sequence[Any],
    read: Callable[[Any], object],
    *,
    examples: int,
    mutate: Callable[[Any, Random], Any] = mutated,
    seconds: float = LIMIT_SECONDS,
) -> int:
    """Feed a reader the kept findings of ``name``, then damaged seeds.

    Args:
        name: Folder in the corpus; one a reader.
        seeds: Whole inputs: bytes, or plain values where ``mutate`` is not ``mutated``.
        read: Reads one; what it returns does not matter, and it raises ``AssertionError`` where a result is wrong.
        examples: Inputs without ``LEXISEG_FUZZ_EXAMPLES``.
        mutate: Damages a seed.
        seconds: Of the processor that reading one may take.

    Returns:
        Number of inputs that were refused.

    Raises:
        BadOutcomeError: With the smallest input found that does the same.
    """
    is_json = mutate is not mutated
    refused = 0
    for path in sorted((CORPUS / name).glob("*")):
        content = json.loads(path.read_text(encoding="utf-8")) if is_json else path.read_bytes()
        refused += _tried(read, content, f"the kept input {path.name} of {name}", seconds)
    random = Random(f"{name}{os.environ.get('LEXISEG_FUZZ_SEED', '0')}")
    for _ in range(num_examples(examples)):
        seed = random.choice(list(seeds))
        content = mutate(seed, random)
        try:
            refused += _tried(read, content, f"a damaged input of {name}", seconds)
        except BadOutcomeError as error:
            if not is_json:
                content = _smallest(seed, content, read, _kind_of(error))
            raise BadOutcomeError(f"{error}\n{_kept(name, content)}") from error.__cause__
    return refused


def _tried(read: Callable[[Any], object], content: Any, what: str, seconds: float = LIMIT_SECONDS) -> bool:
    try:
        with limited(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(content)
    except LexisegError as error:
        if not all(0 < len(part) < 20_000 for part in (error.doing, error.found, error.expected, error.fix)):
            raise BadOutcomeError(f"{what}: an error without its four parts: {error}") from error
        return True
    except (Exception, RecursionError) as error:
        raise BadOutcomeError(f"{what}: {type(error).__name__}: {str(error)[:500]}") from error
    return False


def _kind_of(error: BadOutcomeError) -> type:
    return type(error.__cause__)


def _smallest(seed: bytes, content: bytes, read: Callable[[Any], object], kind: type) -> bytes:
    """Take damages back, and cut the end off, as long as the same kind of error comes."""

    def still(candidate: bytes) -> bool:
        try:
            _tried(read, candidate, "")
        except BadOutcomeError as error:
            return _kind_of(error) is kind
        return False

    if len(content) == len(seed):
        wrong = [index for index in range(len(seed)) if seed[index] != content[index]]
        for index in wrong:
            candidate = content[:index] + seed[index : index + 1] + content[index + 1 :]
            if still(candidate):
                content = candidate
    length = len(content)
    while length > 1 and still(content[: length // 2]):
        content, length = content[: length // 2], length // 2
    return content


def _kept(name: str, content: Any) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode("ascii")
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:12]
    if os.environ.get("LEXISEG_FUZZ_EXAMPLES"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"kept as {path}"
    return f"input ({len(data)} bytes): {data[:2000]!r}"


@contextmanager
def limited(seconds: float = LIMIT_SECONDS, megabytes: int = LIMIT_MEGABYTES) -> Iterator[None]:
    """Raise ``TimeoutError`` after some seconds of the processor and ``MemoryError`` beyond some memory, in the block."""
    if sys.platform != "linux":
        yield
        return
    import resource

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),
        (signal.SIGALRM, signal.ITIMER_REAL, _WAITING * seconds),
    )
    previous = [signal.signal(number, stop) for number, *_ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + megabytes * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for (number, timer, _), handler in zip(timers, previous, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
