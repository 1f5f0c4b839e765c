"""A campaign of faults: kills, full disks, two runs at once, damaged caches and a moved clock, for every command that writes.

Each try disturbs a command and then runs it again, undisturbed. A try is survived where that ends well, with the files
that a run without any disturbance leaves, byte for byte, nothing beside them, and no traceback on the way. Commands run
in forks of this process, so that the moments are those of the work and not of imports.

    python benchmarks/faults.py --tries 100 --json docs/assets/faults.json
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

#: Written with times or machines in them, or beside what is compared.
NOT_COMPARED = ("environment.json", "timing.jsonl", "tensorboard", "broken", ".lexiseg-request")
STOPPED_BY_US = 2


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command that writes.

    Attributes:
        name: What it is called in the table.
        arguments: From the place it writes to.
        resumes: Whether going on needs --resume.
    """

    name: str
    arguments: Callable[[Path], list[object]]
    resumes: bool = False


@dataclass
class Row:
    """A line of the table.

    Attributes:
        command: What was disturbed.
        fault: By what.
        tried: How often.
        struck: How often the fault met the command before it had ended.
        survived: How often the end was that of a run without it.
        seconds: All of it.
        failures: What the first few said.
    """

    command: str
    fault: str
    tried: int = 0
    struck: int = 0
    survived: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def make_data(campaign: "Campaign") -> list[Case]:
    """Make small inputs, and return the commands over them."""
    import numpy as np
    from PIL import Image

    from lexiseg.core.vocabulary import Vocabulary

    # In forks too: a loop that this process had compiled would never be read from a damaged cache.
    folder = campaign.folder
    scenes = ["scenes", "make", folder / "data", "--num", 6, "--num-val", 2, "--size", 64]
    for arguments in (scenes, ["predict", "mini", "--data", folder / "data", "--out", folder / "store"]):
        code = campaign.wait(campaign.start(arguments))
        assert code == 0, f"no inputs ({code}): {campaign.log.read_text()[-2000:]}"
    cutouts = folder / "cutouts"
    cutouts.mkdir()
    pixels = np.random.default_rng(0)
    for word in ("leaf", "stone", "shell"):
        image = pixels.integers(0, 255, (64, 64, 4), np.uint8)
        image[..., 3] = 0
        image[12:52, 12:52, 3] = 255
        Image.fromarray(image).save(cutouts / f"{word}.png")
    words = ", ".join(Vocabulary.from_file(folder / "data/classes.txt").names[:4])
    images, data = folder / "data/images", folder / "data"
    build = ("references", "build", "--source", "cutouts", "--from", cutouts, "--words", "leaf, stone, shell")
    return [
        Case(name="segment", arguments=lambda out: ["segment", images, "--words", words, "--out", out]),
        Case(name="predict", arguments=lambda out: ["predict", "mini", "--data", data, "--out", out]),
        Case(name="evaluate --json", arguments=lambda out: ["evaluate", "mini", "--data", data, "--json", out / "e.json"]),
        Case(name="references build", arguments=lambda out: [*build, "--out", out / "x.bank"]),
        Case(name="scenes make", arguments=lambda out: ["scenes", "make", out, "--num", 24, "--size", 64]),
        Case(name="export", arguments=lambda out: ["export", folder / "store", out / "masks.json"]),
        Case(name="captions pack", arguments=lambda out: ["captions", "pack", data, "--out", out]),
        Case(
            name="train",
            arguments=lambda out: ["train", "simseg/tiny", "--run.num-steps", 6, "--run.save-every", 2, "--out", out],
            resumes=True,
        ),
    ]  # fmt: skip


class Campaign:
    """Runs commands in forks, disturbed and not."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.log = folder / "output.txt"
        self.number = 0
        self.struck = False
        self.running: set[int] = set()

    def start(self, arguments: list[object], prepare: Callable[[], None] = lambda: None) -> int:
        """Start a command; return its process."""
        child = os.fork()
        if child:
            self.running.add(child)
            return child
        code = 70
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            prepare()
            from lexiseg.cli import main

            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self, child: int) -> int:
        """Return the exit status; negative for a signal."""
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.running.discard(child)
        return code

    def whole(self, case: Case, out: Path) -> tuple[str, float]:
        """Run a command undisturbed; return the digest of its files and its seconds."""
        begin = time.perf_counter()
        code = self.wait(self.start(case.arguments(out)))
        assert code == 0, f"{case.name} fails undisturbed ({code}): {self.log.read_text()[-2000:]}"
        return digest(out), time.perf_counter() - begin

    def attempt(self, case: Case, row: Row, expected: str, disturb: Callable[[Path], str | None]) -> None:
        """Disturb, run again, compare."""
        self.number += 1
        out = self.folder / f"try-{self.number}" / "out"
        out.parent.mkdir()
        self.log.write_text("")
        self.struck = False
        begin = time.perf_counter()
        problem = disturb(out)
        arguments = case.arguments(out)
        if case.resumes and (out / "recipe.json").exists():
            arguments.append("--resume")
        code = self.wait(self.start(arguments))
        said = self.log.read_text(errors="replace")
        if problem is None and code != 0:
            problem = f"the same command ends with {code}"
        elif problem is None and "Traceback" in said:
            problem = "a traceback"
        elif problem is None and (left := [path.name for path in out.parent.rglob(".lexiseg-writing-*")]):
            problem = f"left over: {', '.join(left)}"
        elif problem is None and digest(out) != expected:
            problem = "other files than without the disturbance"
        row.tried += 1
        row.struck += self.struck
        row.seconds += time.perf_counter() - begin
        if problem is None:
            row.survived += 1
        elif len(row.failures) < 5:
            row.failures.append(f"{problem}: {said[-600:]}")
        shutil.rmtree(out.parent, ignore_errors=True)

    def kill(self, case: Case, seconds: float) -> Callable[[Path], str | None]:
        """Return what kills a command, once or several times, at random moments."""

        def disturb(out: Path) -> None:
            for _ in range(self.random.choice((1, 1, 2, 3))):
                arguments = case.arguments(out)
                if case.resumes and (out / "recipe.json").exists():
                    arguments.append("--resume")
                child = self.start(arguments)
                time.sleep(self.random.uniform(0, seconds))
                self.end(child)

        return disturb

    def end(self, child: int) -> None:
        """Kill a command, which may have ended by itself."""
        os.kill(child, signal.SIGKILL)
        self.struck |= self.wait(child) == -signal.SIGKILL

    def full_disk(self, case: Case, largest: int) -> Callable[[Path], str | None]:
        """Return what lets no file grow beyond a random size."""

        def disturb(out: Path) -> str | None:
            most = self.random.randrange(largest)
            limit = (most, resource.RLIM_INFINITY)
            code = self.wait(
                self.start(case.arguments(out), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
            )
            self.struck = code != 0
            return (
                None if code in (0, 1, STOPPED_BY_US) else f"ends with {code} without room for {most:,} bytes"
            )

        return disturb

    def two(self, case: Case) -> Callable[[Path], str | None]:
        """Return what runs a command twice at once."""

        def disturb(out: Path) -> str | None:
            children = [self.start(case.arguments(out)) for _ in range(2)]
            codes = [self.wait(child) for child in children]
            self.struck = True
            return None if set(codes) <= {0, STOPPED_BY_US} else f"two at once end with {codes}"

        return disturb

    def clock(self, case: Case) -> Callable[[Path], str | None]:
        """Return what runs a part of a command in another year."""

        def disturb(out: Path) -> None:
            shift, now = self.random.choice((-1, 1)) * 3e8, time.time

            def moved() -> None:
                time.time = lambda: now() + shift

            child = self.start(case.arguments(out), moved)
            time.sleep(0.3)
            self.end(child)

        return disturb

    def damaged_caches(self, cache: Path) -> Callable[[Path], str | None]:
        """Return what damages every file of the cache."""

        def disturb(out: Path) -> None:
            for path in cache.rglob("*"):
                if path.is_file() and path.stat().st_size:
                    content = bytearray(path.read_bytes())
                    for _ in range(self.random.choice((1, 20))):
                        content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
                    self.struck = True
                    path.write_bytes(content[: self.random.choice((len(content), len(content) // 2))])

        return disturb


def digest(out: Path) -> str:
    """Hash names and bytes of the files that a command wrote; JSON without the paths that differ between tries."""
    total = hashlib.sha256()
    for path in sorted(out.rglob("*")) if out.is_dir() else [out]:
        relative = path.relative_to(out)
        if path.is_file() and not any(part in NOT_COMPARED for part in relative.parts):
            content = path.read_bytes().replace(str(out).encode(), b"OUT")
            total.update(f"{relative} {len(content)} ".encode() + content)
    return total.hexdigest()


def main() -> int:
    """Run the campaign; return 1 where a try was not survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tries", type=int, default=100, help="kills a command; a fifth of it of each other fault"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[""], help="commands whose name begins so")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lexiseg-faults-"))
    cache = folder / "cache"
    os.environ["LEXISEG_CACHE"] = str(cache)
    if kernels := os.environ.get("NUMBA_CACHE_DIR"):  # compiled before: a copy of them may be damaged
        shutil.copytree(kernels, cache / "numba")
    os.environ["NUMBA_CACHE_DIR"] = str(cache / "numba")
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    import lexiseg.runs.load  # noqa: F401 (what most forks would import again)

    torch.set_num_threads(1)  # forks take no threads along
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    campaign = Campaign(folder, given.seed)
    try:
        return run(campaign, cache, given)
    finally:  # forks have a session of their own: nobody else ends them
        for child in campaign.running:
            os.kill(child, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def run(campaign: Campaign, cache: Path, given: argparse.Namespace) -> int:
    """Disturb every command in every way; print a line each."""
    rows: list[Row] = []
    others = max(1, given.tries // 5)
    for case in make_data(campaign):
        if not case.name.startswith(tuple(given.only)):
            continue
        for attempt in ("first", "whole"):  # the first also compiles and fills the caches
            out = campaign.folder / attempt / case.name.replace(" ", "-") / "out"
            out.parent.mkdir(parents=True)
            expected, seconds = campaign.whole(case, out)
        largest = max((path.stat().st_size for path in out.rglob("*") if path.is_file()), default=1)
        faults = {
            "killed": (given.tries, campaign.kill(case, 1.2 * seconds)),
            "no room": (others, campaign.full_disk(case, largest)),
            "two at once": (others, campaign.two(case)),
            "clock moved": (others, campaign.clock(case)),
            "caches damaged": (others, campaign.damaged_caches(cache)),
        }
        for name, (tries, disturb) in faults.items():
            row = Row(command=case.name, fault=name)
            for _ in range(tries):
                campaign.attempt(case, row, expected, disturb)
            rows.append(row)
            survived = f"{row.survived:>4} of {row.tried:<4} ({row.struck} struck)"
            print(f"{case.name:<18} {name:<15} {survived} {row.seconds:7.1f} s", flush=True)
            for failure in row.failures:
                print(f"    {failure}", flush=True)
            if given.json is not None:  # after every line: a campaign takes hours
                found = {"command": " ".join(["python", *sys.argv]), "rows": [vars(row) for row in rows]}
                given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(any(row.survived < row.tried for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
