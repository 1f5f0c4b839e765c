"""Convert pickled weights to safetensors once, where a person trusts their source.

A pickle can run code when it is opened. Here it is opened with ``weights_only``, in a process of its own that gets no
tokens from the environment, which writes safetensors and compares them byte by byte with what it read. What was read
and written is recorded with its SHA-256 in ``converted.json``.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import CheckpointError, MissingWeightsError, OutputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.json_text import read_json_file
from lexiseg.models import convert_worker
from lexiseg.models.checkpoint import read_json
from lexiseg.models.hub import (
    CONVERSION_RECORD,
    FIRST_ANSWER_TIMEOUT,
    SETTINGS,
    converted_folder,
    is_hub_id,
    say_revision,
    split_revision,
)
from lexiseg.models.weight_files import choose_weight_files, describe_folder, pickled_weights

_LIBRARY_PICKLE = re.compile(r"(pytorch_model|diffusion_pytorch_model)(.*)\.bin")
_SAFE_STEM = {"pytorch_model": "model", "diffusion_pytorch_model": "diffusion_pytorch_model"}
_SHARD = re.compile(r"-\d+-of-\d+")
#: What the process that opens the pickle may know of the environment.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PYTHONPATH", "SYSTEMROOT")


@dataclass(frozen=True, kw_only=True)
class HashedFile:
    """One file of a conversion.

    Attributes:
        name: Below the converted folder, with ``/``.
        sha256: Of its content, in hex.
        bytes: Its size.
        tensors: How many it holds; None for what was not opened here.
    """

    name: str
    sha256: str
    bytes: int
    tensors: int | None = None


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What ``convert_folder`` did.

    Attributes:
        folder: Where the safetensors are.
        read: The pickles.
        written: The safetensors; shard for shard.
    """

    folder: Path
    read: tuple[HashedFile, ...]
    written: tuple[HashedFile, ...]


def convert_folder(
    folder: Path, *, repository: str | None = None, revision: str | None = None, commit: str | None = None
) -> Conversion:
    """Convert every network of a folder that has its weights only as pickles; those of diffusers lie one below.

    What was converted before, and is there as it was recorded, is kept.

    Args:
        folder: In the layout of transformers or diffusers; the safetensors are written beside the pickles.
        repository: Hub id it came from, for the record.
        revision: What was asked for there, for the record.
        commit: Its commit there, for the record.

    Raises:
        CheckpointError: There is nothing to convert, a pickle holds other things than tensors, is cut off or wants to
            run code, or shards and index contradict each other.
        OutputError: The folder cannot be written to.
    """
    with writing_alone(folder):
        return _convert(folder, {"repository": repository, "revision": revision, "commit": commit})


def _convert(folder: Path, origin: Mapping[str, str | None]) -> Conversion:
    """Do what ``convert_folder`` does; the caller is alone in the folder."""
    homes = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    plan = {home / source: home / target for home in homes for source, target in _todo(home).items()}
    before = {
        target: source for target, source in _recorded(folder) if folder / target.name not in plan.values()
    }
    if not plan:
        if not before:
            raise _nothing_to_do(folder)
        return Conversion(folder=folder, read=tuple(before.values()), written=tuple(before))
    with _named_when_whole(plan) as unnamed:
        counts = _convert_files(unnamed)
        indices: dict[Path, str] = {}
        for home in homes:
            own = {target.name: unnamed[source] for source, target in plan.items() if target.parent == home}
            indices |= _index(home, own)
        for (source, target), count in zip(plan.items(), counts, strict=True):
            file = _hashed(folder, target, unnamed[source], tensors=count)
            before[file] = _hashed(folder, source, source)
        written = sorted(before, key=lambda file: file.name)
        done = Conversion(folder=folder, read=tuple(before[file] for file in written), written=tuple(written))
        # before the files: what was stopped in between is told from what is done by what the record says
        _write_text(folder / CONVERSION_RECORD, json.dumps(_record(done, origin), indent=1))
    for place, text in indices.items():
        _write_text(place, text)
    return done


def _record(done: Conversion, origin: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        **origin,
        "lexiseg": importlib.metadata.version("lexiseg"),
        "torch": importlib.metadata.version("torch"),
        "read": [asdict(file) for file in done.read],
        "written": [asdict(file) for file in done.written],
    }


def _recorded(folder: Path) -> Iterator[tuple[HashedFile, HashedFile]]:
    """Yield safetensors and pickle of an earlier conversion that are there as its record says; a damaged one says nothing."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        record = read_json_file(folder / CONVERSION_RECORD)
        for source, target in zip(record["read"], record["written"], strict=True):
            recorded = HashedFile(**target)
            path = folder / recorded.name
            if path.is_file() and _hashed(folder, path, path, tensors=recorded.tensors) == recorded:
                yield recorded, HashedFile(**source)


def convert_from_hub(name: str) -> Conversion:
    """Fetch a model that the hub has only as a pickle, and convert it into Lexiseg's cache folder.

    ``resolve_checkpoint`` finds it there under the same name.

    Args:
        name: A hub id, with ``@`` and a branch, tag or commit behind it if need be.

    Raises:
        MissingWeightsError: The hub has no such model or cannot be reached.
        CheckpointError: It has safetensors already, or see ``convert_folder``.
    """
    from huggingface_hub import HfApi, snapshot_download

    repository, revision = split_revision(name)
    if not is_hub_id(name):
        raise _not_there(name, "no folder of that name, and no hub could have such an id")
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=FIRST_ANSWER_TIMEOUT)
        files = sorted({sibling.rfilename for sibling in info.siblings or []})
        commit = str(info.sha)
    except Exception as error:  # whatever the hub's client and its HTTP library raise
        raise _not_there(name, f"the hub gave no model ({type(error).__name__}: {error})") from error
    roots = [file for file in files if "/" not in file]
    if choose_weight_files(roots) is not None:
        raise CheckpointError(
            doing=f"converting {name}",
            found="safetensors in the repository itself",
            expected="a model that the hub has only as a pickle",
            fix=f"Give {name} as it is.",
        )
    pickles = _to_convert(roots)
    if not pickles:
        raise CheckpointError(
            doing=f"converting {name}",
            found=", ".join(pickled_weights(roots)) or "no weights in the names of transformers",
            expected="pytorch_model.bin, or its shards with an index",
            fix="Choose a checkpoint in transformers' layout.",
        )
    say_revision(repository, commit)
    wanted = [*filter(SETTINGS.fullmatch, roots), *pickles]
    try:
        snapshot = Path(snapshot_download(repository, revision=commit, allow_patterns=wanted))
    except Exception as error:
        raise _not_there(name, f"the download broke off ({type(error).__name__}: {error})") from error
    home = converted_folder(repository, commit)
    partial = home.with_name(f"{home.name}.partial")
    with writing_alone(partial):
        for file in wanted:
            (partial / file).unlink(missing_ok=True)  # of a conversion that was stopped
            if file in pickles:
                (partial / file).symlink_to((snapshot / file).resolve())
            else:
                shutil.copyfile(snapshot / file, partial / file)
        done = _convert(partial, {"repository": repository, "revision": revision, "commit": commit})
        for file in pickles:
            (partial / file).unlink()
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
    return Conversion(folder=home, read=done.read, written=done.written)


def _to_convert(names: list[str]) -> list[str]:
    """Choose among the pickles of one folder: full precision, one file or all shards."""
    matches = {name: match for name in names if (match := _LIBRARY_PICKLE.fullmatch(name))}
    for stem in _SAFE_STEM:
        own = {name: match[2] for name, match in matches.items() if match[1] == stem}
        for suffix in ("", ".fp16"):
            if f"{stem}{suffix}.bin" in own:
                return [f"{stem}{suffix}.bin"]
        if shards := [name for name, rest in own.items() if _SHARD.fullmatch(rest)]:
            return sorted(shards)
    return []


def _todo(home: Path) -> dict[str, str]:
    """Return the safetensors to write by pickle, or nothing where there are safetensors already."""
    names = [path.name for path in home.iterdir()]
    pickles = _to_convert(names)
    if not pickles:
        return {}
    match = _LIBRARY_PICKLE.fullmatch(pickles[0])
    assert match is not None
    if choose_weight_files(names, _SAFE_STEM[match[1]]) is not None:
        return {}
    return {name: _target(name) for name in pickles}


def _target(pickle: str) -> str:
    match = _LIBRARY_PICKLE.fullmatch(pickle)
    assert match is not None
    return f"{_SAFE_STEM[match[1]]}{match[2]}.safetensors"


@contextmanager
def _named_when_whole(plan: Mapping[Path, Path]) -> Iterator[dict[Path, Path]]:
    """Yield a temporary file for each to write, by its pickle; they get their names when all are whole.

    Raises:
        OutputError: They cannot be written.
    """
    try:
        with ExitStack() as stack:
            yield {source: stack.enter_context(atomic_path(target)) for source, target in plan.items()}
    except OutputError as error:
        raise OutputError(
            doing=f"converting {', '.join(map(str, plan))}",
            found=error.found,
            expected="a folder in which safetensors can be written",
            fix="Copy the checkpoint to a folder of your own with room for as much again, and convert it there.",
        ) from error


def _convert_files(unnamed: Mapping[Path, Path]) -> list[int]:
    """Convert files in one process of its own; return the number of tensors of each."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    paths = [str(path.absolute()) for pair in unnamed.items() for path in pair]
    done = subprocess.run(
        [sys.executable, "-P", convert_worker.__file__, *paths],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    said = done.stdout.split("\n")[:-1]
    if done.returncode == 0:
        counts = [_count(file) for file in unnamed.values()]
        assert counts == [int(line) for line in said], "what arrived is what was sent"
        return counts
    if not done.stdout or "OSError" in done.stderr or "SafetensorError" in done.stderr:
        raise OSError((done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1])
    raise _refused(list(unnamed)[len(said) - 1], said[-1])


def _count(file: Path) -> int:
    with safe_open(file, framework="pt") as written:
        return len(written.keys())


def _index(home: Path, shards: Mapping[str, Path]) -> dict[Path, str]:
    """Make the index of converted shards, after comparing the pickles' own with what they held; none for one file."""
    first = next(iter(shards), "")
    if not _SHARD.search(first):
        return {}
    stem = _SHARD.split(first)[0]
    weight_map, total = {}, 0
    for shard, unnamed in sorted(shards.items()):
        with safe_open(unnamed, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                weight_map[name] = shard
        total += unnamed.stat().st_size
    (theirs,) = [pickle for pickle, safe in _SAFE_STEM.items() if safe == stem]
    stated = read_json(home, f"{theirs}.bin.index.json").get("weight_map")
    expected = {name: _target(str(file)) for name, file in stated.items()} if isinstance(stated, dict) else {}
    if expected != weight_map:
        missing = sorted(expected.keys() ^ weight_map.keys())
        raise CheckpointError(
            doing=f"converting the shards in {home}",
            found=f"other tensors than {theirs}.bin.index.json lists ({', '.join(missing[:6]) or 'in other shards'})",
            expected="every tensor of the index once, in the shard that it names",
            fix="Download all shards and the index again, from one place.",
        )
    content = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return {home / f"{stem}.safetensors.index.json": json.dumps(content, indent=1)}


def _hashed(folder: Path, file: Path, content: Path, *, tensors: int | None = None) -> HashedFile:
    """Hash the content that a file has, or gets when it has its name."""
    with content.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    name = file.relative_to(folder).as_posix()
    return HashedFile(name=name, sha256=digest, bytes=content.stat().st_size, tensors=tensors)


def _write_text(file: Path, text: str) -> None:
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _refused(source: Path, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"converting {source}",
        found=found,
        expected="tensors by name, as torch.save writes a state dict; nothing else is ever loaded",
        fix="Download it again, complete, or choose a checkpoint in safetensors; nothing was run or kept.",
    )


def _nothing_to_do(folder: Path) -> CheckpointError:
    names = [path.name for path in folder.iterdir()]
    if any(choose_weight_files(names, stem) is not None for stem in _SAFE_STEM.values()):
        found, fix = "safetensors already", f"Give {shlex.quote(str(folder))} as it is."
    else:
        others = pickled_weights(names)
        found = describe_folder(folder) or "no pytorch_model.bin"
        if others:
            found = (
                f"{', '.join(others)}, which {'is' if len(others) == 1 else 'are'} in the authors' own layout"
            )
        fix = "Choose a checkpoint in transformers' or diffusers' layout."
    return CheckpointError(
        doing=f"converting {folder}",
        found=found,
        expected="pytorch_model.bin or diffusion_pytorch_model.bin, or shards of these with their index",
        fix=fix,
    )


def _not_there(name: str, found: str) -> MissingWeightsError:
    return MissingWeightsError(
        doing=f"converting {name}",
        found=found,
        expected="a folder with pytorch_model.bin, or a hub id such as openai/clip-vit-base-patch16",
        fix="Check the spelling, or fetch the files yourself and give their folder.",
    )
