"""``lexiseg doctor``: is this machine ready, and with what?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lexiseg.core.terminal import open_console

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at: how it stands, and what to do where it stands badly."""

    name: str
    state: State
    found: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check versions, weights and their licences, threads, and known traps of the installation."""

    def run(self) -> int:
        """Print every check, then what to do, in lines to copy from; return 1 when one is bad."""
        from rich.table import Table
        from rich.text import Text

        table = Table(highlight=False)
        for heading in ("", "check", "found"):
            table.add_column(heading)
        checks = list(examine())
        for check in checks:
            style = {"ok": "green", "note": "yellow", "bad": "bold red"}[check.state]
            table.add_row(Text(check.state, style=style), check.name, check.found)
        open_console().print(table)
        if any(check.fix for check in checks):
            print("to do:")
        for check in checks:
            if check.fix:
                print(f"  {check.name}: {check.fix}")
        return int(any(check.state == "bad" for check in checks))


def examine() -> Iterator[Check]:
    """Look at everything that decides whether a run will work."""
    yield from _versions()
    yield _torchvision()
    yield from _weights()
    yield _threads()
    yield _accelerator()
    yield _cache()
    yield _compiled()


def _versions() -> Iterator[Check]:
    import sys
    from importlib.metadata import PackageNotFoundError, version

    old = sys.version_info < (3, 11)
    yield Check(name="python", state="bad" if old else "ok", found=sys.version.split()[0])
    for package in (
        "lexiseg",
        "torch",
        "transformers",
        "numpy",
        "numba",
        "pillow",
        "safetensors",
        "tokenizers",
    ):
        try:
            yield Check(name=package, state="ok", found=version(package))
        except PackageNotFoundError:
            if package == "lexiseg":
                yield Check(name=package, state="note", found="used from its source folder, not installed")
            else:
                yield Check(name=package, state="bad", found="not installed", fix=f"pip install {package}")


def _torchvision() -> Check:
    """Tell of a torchvision that does not import: transformers then fails with a misleading message."""
    from lexiseg.models.checkpoint import torchvision_problem

    problem = torchvision_problem()
    if problem is None:
        return Check(name="torchvision", state="ok", found="absent or working; Lexiseg does not need it")
    return Check(
        name="torchvision",
        state="bad",
        found=f"installed, but importing it fails ({problem})",
        fix="CLIP and SigLIP models cannot load beside it: pip uninstall torchvision",
    )


def _weights() -> Iterator[Check]:
    from lexiseg.runs.known_models import known_models

    missing = []
    for model in known_models():
        for part, state in model.states():
            name = f"weights of {model.name}" + (f": {part}" if part else "")
            match state:
                case "intact":
                    yield Check(
                        name=name, state="ok", found=f"present, SHA-256 as published; {model.licence}"
                    )
                case "present":
                    yield Check(name=name, state="ok", found=f"in the local hub cache; {model.licence}")
                case "altered":
                    fix = f"They will not be loaded. Reinstall: {model.how_to_get}"
                    yield Check(name=name, state="bad", found="present, but not the published file", fix=fix)
                case _ if not model.segments:
                    yield Check(name=name, state="note", found="not here, and optional", fix=model.how_to_get)
                case _ if model.parts:
                    yield Check(name=name, state="bad", found="not here", fix=model.how_to_get)
                case _:
                    missing.append(model.name)
    if missing:
        yield Check(
            name="weights of hub models",
            state="note",
            found=f"{len(missing)} known models are not here (lexiseg models lists them with size and licence)",
            fix="Where there is a network: lexiseg convert openai/clip-vit-base-patch16",
        )


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> Check:
    import os

    import torch

    cores, threads = _cores(), torch.get_num_threads()
    found = f"{threads} threads on {cores} cores"
    if threads > 1 and os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        return Check(
            name="threads",
            state="note",
            found=found,
            fix="On cores shared with other work, set OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0.",
        )
    return Check(name="threads", state="ok", found=found)


def _accelerator() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check(name="GPU", state="ok", found=torch.cuda.get_device_name(0))
    return Check(name="GPU", state="ok", found="none; everything runs on the CPU")


def _cache() -> Check:
    import os

    from lexiseg.core.cache_folder import default_cache

    folder = default_cache()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(nearest, os.W_OK):
        return Check(name="cache of word embeddings", state="ok", found=str(folder))
    return Check(
        name="cache of word embeddings",
        state="note",
        found=f"{folder} cannot be written",
        fix="Words are embedded again in every run; set LEXISEG_CACHE to a folder that can be written to.",
    )


def _compiled() -> Check:
    """Compile or load a loop, and tell whether machine code is kept from run to run."""
    import os

    import numpy as np

    from lexiseg.core import row_rle

    row_rle.encode_runs(np.zeros((1, 1), np.uint16))
    folder = row_rle._encode._cache.cache_path
    if folder is not None and os.access(folder, os.W_OK):
        return Check(
            name="compiled loops", state="ok", found=f"kept in {folder}, checked before they are run"
        )
    return Check(
        name="compiled loops",
        state="note",
        found=f"{folder or 'no folder for them'} cannot be written",
        fix="They are compiled in every run, which takes some seconds; set NUMBA_CACHE_DIR to a folder that can be "
        "written to.",
    )
