"""A campaign of faults: kills, small disks, two runs at once, damaged caches and a moved clock, for every command that writes.

Each try disturbs a command and then runs it again, undisturbed. A try is survived where that ends well, with the files
that a run without any disturbance leaves, byte for byte, nothing beside them, and no traceback on the way. Commands run
in forks of this process, so that the moments are those of the work and not of imports. Small disks are file systems in
memory of a random size, which only root may mount; for anybody else, files are limited in size instead.

    python benchmarks/faults.py --tries 5 --json benchmarks/faults.json
"""

import argparse
import contextlib
import functools
import hashlib
import io
import json
import os
import pkgutil
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from fault_cases import LEFT_OUT, Case, Cases

#: Written with times or machines in them, or beside what is compared. SIGTERM leaves a checkpoint of the step at which it
#: came; the weights that a run ends with are compared.
NOT_COMPARED = (
    "checkpoints",
    "environment.json",
    "timing.jsonl",
    "tensorboard",
    "broken",
    ".lexiseg-request",
    "comparison.json",
)
REFUSED, STOPPED = 2, 130
MEBIBYTE = 1 << 20
#: Programs of their own.
NOT_IMPORTED = ("__main__", "convert_worker", "matlab_worker")
#: Torch's threads of training do not live on in a fork: this process never trains.
TRAINING = ("train", "retrain", "distil", "ablate")

#: After this words are embedded anew, beside other words than before: sums are rounded otherwise.
TWO = "two at once"

Disturb = Callable[[Path], str | None]
#: Of the bytes of files, and of the same with numbers rounded.
Digests = tuple[str, str]


@dataclass
class Row:
    """A line of the table.

    Attributes:
        command: What was disturbed.
        fault: By what.
        tried: How often.
        struck: How often the fault met a command before it had ended; some tries kill twice.
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

    def add(self, problem: str | None, seconds: float) -> None:
        """Count a try."""
        self.tried += 1
        self.survived += problem is None
        self.seconds = round(self.seconds + seconds, 1)
        if problem is not None and len(self.failures) < 5:
            self.failures.append(problem)


class Campaign:
    """Runs commands in forks, disturbed and not."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.log = folder / "output.txt"
        self.cache = folder / "cache"
        self.number = 0
        self.struck = 0
        self.running: set[int] = set()
        self.mounted: list[Path] = []
        self.can_mount = self._try_mount()

    # Processes

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

            signal.signal(signal.SIGINT, signal.default_int_handler)
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

    def run(self, arguments: list[object]) -> None:
        """Run a command that makes inputs; what comes without them is told where they are missed."""
        code = self.wait(self.start(arguments))
        if code != 0:
            print(
                f"no input from {' '.join(map(str, arguments[:2]))} ({code}): {self.said()[-2000:]}",
                flush=True,
            )

    def said(self) -> str:
        """Return what commands printed since the log was emptied."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.replace(f"{self.folder}/", "")  # a name that no other run has

    # Disks

    def _try_mount(self) -> bool:
        place = self.folder / "disk"
        try:
            self.mount(place, MEBIBYTE)
        except (OSError, subprocess.CalledProcessError):
            return False
        self.unmount(place)
        return True

    def mount(self, place: Path, size: int, *more: str) -> None:
        """Put a file system of so many bytes in memory at a folder, or give it another size."""
        place.mkdir(exist_ok=True)
        options = ",".join([*more, f"size={size}"])
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True)
        if place not in self.mounted:
            self.mounted.append(place)

    def unmount(self, place: Path) -> None:
        """Take it away again."""
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
        self.mounted.remove(place)

    # Tries

    def place(self, case: Case) -> Path:
        """Return a new place to write to, with what must be there before."""
        self.number += 1
        out = self.folder / f"try-{self.number}" / "out"
        out.parent.mkdir()
        case.prepare(out)
        return out

    def whole(
        self, case: Case, *, here: bool = False, cache: Path | None = None
    ) -> tuple[Digests, float, int]:
        """Run a command undisturbed; return the digests of its files, its seconds and their bytes on a disk.

        Args:
            case: The command.
            here: In this process, so that its forks find all imported.
            cache: Another folder for the cache than that of the campaign.

        Raises:
            RuntimeError: It failed.
        """
        self.log.write_text("")
        out = self.place(case)
        begin = time.perf_counter()
        given = case.arguments(out)

        def prepare() -> None:
            if cache is not None:
                os.environ["LEXISEG_CACHE"] = str(cache)

        code = self._here(given) if here else self.wait(self.start(given, prepare))
        seconds = time.perf_counter() - begin
        if code != 0:
            raise RuntimeError(f"fails undisturbed ({code}): {self.said()[-1500:]}")
        size = sum(-(-path.stat().st_size // 4096) * 4096 for path in out.rglob("*") if path.is_file())
        found = digests(out), seconds, size
        shutil.rmtree(out.parent)
        return found

    def _here(self, arguments: list[object]) -> int:
        from lexiseg.cli import main

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as stopped:
                return int(stopped.code or 0)
        return 0

    def again(self, case: Case, out: Path) -> list[object]:
        """Return the command that goes on."""
        resumes = case.resumes is not None and (out / case.resumes).exists()
        return [*case.arguments(out), *(["--resume"] if resumes else [])]

    def attempt(self, case: Case, row: Row, expected: Digests, disturb: Disturb) -> None:
        """Disturb, run again, compare; with what was embedded anew, rounding differs in the last digits."""
        self.log.write_text("")
        self.struck = 0
        begin = time.perf_counter()
        out = self.place(case)
        problem = disturb(out)
        is_done = case.refuses and digests(out) == expected
        code = self.wait(self.start(self.again(case, out)))
        said = self.said()
        left = [path.name for path in out.parent.rglob(".lexiseg-writing-*")]
        if problem is None and code != (REFUSED if is_done else 0):
            problem = f"the same command ends with {code}"
        elif problem is None and "Traceback" in said:
            problem = "a traceback"
        elif problem is None and left:
            problem = f"left over: {', '.join(left)}"
        elif problem is None and digests(out)[row.fault == TWO] != expected[row.fault == TWO]:
            problem = "other files than without the disturbance"
        row.struck += self.struck
        row.add(problem and f"{problem}: {said[-900:]}", time.perf_counter() - begin)
        for place in [each for each in self.mounted if each.is_relative_to(out.parent)]:
            self.unmount(place)
        shutil.rmtree(out.parent, ignore_errors=True)

    # Faults

    def kill(self, case: Case, seconds: float, out: Path) -> None:
        """Kill a command, once or twice, at moments drawn from nine tenths of what it takes: later, most have ended."""
        for _ in range(self.random.choice((1, 1, 1, 2))):
            child = self.start(self.again(case, out))
            time.sleep(self.random.uniform(0, 0.9 * seconds))
            self.end(
                child, self.random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            )

    def end(self, child: int, by: int = signal.SIGKILL) -> None:
        """Kill a command, which may have ended by itself."""
        os.kill(child, by)
        self.struck += self.wait(child) in (-by, STOPPED)

    def small_disk(self, case: Case, size: int, out: Path) -> str | None:
        """Give a command a disk that is too small for its files."""
        if self.can_mount:
            held = [*out.parent.iterdir()]
            aside = self.folder / "aside"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            for path in held:
                shutil.move(path, aside / path.name)
            self.mount(out.parent, 512 * MEBIBYTE)
            for path in held:
                shutil.move(aside / path.name, path)
            disk = os.statvfs(out.parent)
            used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
            room = used + self.random.randrange(0, max(4096, size - used), 4096)
            self.mount(out.parent, max(room, 4096), "remount")
            code = self.wait(self.start(case.arguments(out)))
            self.mount(out.parent, 512 * MEBIBYTE, "remount")
        else:
            room = self.random.randrange(max(1, size // 2))
            limit = (room, resource.RLIM_INFINITY)
            code = self.wait(
                self.start(case.arguments(out), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
            )
        self.struck = int(code != 0)
        return None if code in (0, 1, REFUSED) else f"ends with {code} without room for {room:,} bytes"

    def full_cache(self, case: Case, row: Row) -> None:
        """Give a command a cache folder that is full: it must leave the files of a run without any cache."""
        begin = time.perf_counter()
        place = self.folder / "full-cache"
        self.mount(place, 4096)
        try:
            expected, found = (
                self.whole(case, cache=cache)[0][0] for cache in (Path(os.devnull, "none"), place)
            )
            problem = None if found == expected else "other files than without a cache"
        except RuntimeError as error:
            problem = str(error)
        finally:
            self.unmount(place)
        row.struck += 1
        row.add(problem, time.perf_counter() - begin)

    def two(self, case: Case, out: Path) -> str | None:
        """Run a command twice at once, over one cache that has yet to be made."""
        for path in self.cache.iterdir() if self.cache.is_dir() else ():
            if path.name != "numba":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        children = [self.start(case.arguments(out)) for _ in range(2)]
        codes = [self.wait(child) for child in children]
        self.struck = 1
        return None if 0 in codes and set(codes) <= {0, REFUSED} else f"two at once end with {codes}"

    def clock(self, case: Case, seconds: float, out: Path) -> None:
        """Run a part of a command in another year, files included."""
        shift, now = self.random.choice((-1, 1)) * 3e8, time.time

        def moved() -> None:
            time.time = lambda: now() + shift

        child = self.start(case.arguments(out), moved)
        time.sleep(self.random.uniform(0.3, 1) * seconds)
        self.end(child)
        self.struck = 1
        for path in out.parent.rglob("*"):
            os.utime(path, (now() + shift,) * 2, follow_symlinks=False)

    def damaged_caches(self, out: Path) -> None:
        """Damage a part of the files of the cache, one at least: words, features, indices, compiled loops."""
        files = [path for path in self.cache.rglob("*") if path.is_file() and path.stat().st_size]
        chosen = [path for path in files if "numba" not in path.parts or self.random.random() < 0.05]
        for path in chosen or self.random.sample(files, 1):
            content = bytearray(path.read_bytes())
            for _ in range(self.random.choice((1, 20))):
                content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            self.struck = 1
            path.write_bytes(content[: self.random.choice((len(content), len(content) // 2))])


def digests(out: Path) -> Digests:
    """Hash names and bytes of the files that a command wrote, without the paths that differ between tries.

    Returns:
        Of the bytes, and of the same with the numbers of JSON files rounded to six digits.
    """
    exact, rounded = hashlib.sha256(), hashlib.sha256()
    for path in sorted(out.rglob("*")) if out.is_dir() else [out]:
        relative = path.relative_to(out)
        if path.is_file() and not any(part in NOT_COMPARED for part in relative.parts):
            content = path.read_bytes().replace(str(out).encode(), b"OUT")
            exact.update(f"{relative} {len(content)} ".encode() + content)
            if path.suffix == ".json":
                content = re.sub(rb"\d+\.\d{6,}", lambda found: b"%.6g" % float(found[0]), content)
            rounded.update(f"{relative} {len(content)} ".encode() + content)
    return exact.hexdigest(), rounded.hexdigest()


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
    parser.add_argument("--faults", nargs="*", help="these alone: killed, caches damaged, …")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lexiseg-faults-"))
    os.environ["LEXISEG_CACHE"] = str(folder / "cache")
    if kernels := os.environ.get("NUMBA_CACHE_DIR"):  # compiled before: a copy of them may be damaged
        shutil.copytree(kernels, folder / "cache/numba")
    os.environ["NUMBA_CACHE_DIR"] = str(folder / "cache/numba")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OGR_CURRENT_DATE"] = "2026-01-01T00:00:00.000Z"  # which GDAL writes into a GeoPackage
    import torch

    import lexiseg

    for module in pkgutil.walk_packages(lexiseg.__path__, "lexiseg."):  # forks need not import what is there
        if module.name.rpartition(".")[2] not in NOT_IMPORTED:
            import_module(module.name)
    torch.set_num_threads(1)  # forks take no threads along
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    campaign = Campaign(folder, given.seed)
    try:
        return run(campaign, given)
    finally:  # forks have a session of their own: nobody else ends them
        for child in campaign.running:
            os.kill(child, signal.SIGKILL)
        for place in [*campaign.mounted]:
            campaign.unmount(place)
        shutil.rmtree(folder, ignore_errors=True)


def run(campaign: Campaign, given: argparse.Namespace) -> int:
    """Disturb every command in every way; print a line each."""
    begin = time.perf_counter()
    made = Cases(campaign.folder)
    made.make_inputs(campaign.run)
    cases = {name: case for name, case in made.commands().items() if name.startswith(tuple(given.only))}
    rows: list[Row] = []
    others = max(1, given.tries // 5)

    def chosen(fault: str) -> bool:
        return not given.faults or fault in given.faults

    def finish(row: Row) -> None:
        rows.append(row)
        counts = f"{row.survived:>4} of {row.tried:<4} ({row.struck} struck)"
        print(f"{row.command:<18} {row.fault:<15} {counts} {row.seconds:7.1f} s", flush=True)
        for failure in row.failures:
            print(f"    {failure}", flush=True)
        if given.json is not None:  # after every line: a campaign takes hours
            write(given.json, campaign, rows, time.perf_counter() - begin)

    expected = {}
    for (
        name,
        case,
    ) in cases.items():  # this process has compiled and loaded nothing yet: forks read the caches
        row = Row(command=name, fault="undisturbed")
        try:
            expected[name], seconds, _ = campaign.whole(case)
            row.add(None, seconds)
        except RuntimeError as error:
            row.add(str(error), 0)
        finish(row)
        if name not in expected or not chosen("caches damaged"):
            continue
        row = Row(command=name, fault="caches damaged")
        for _ in range(others):
            campaign.attempt(case, row, expected[name], campaign.damaged_caches)
        finish(row)
    for name in [name for name in expected if name not in TRAINING]:
        campaign.whole(cases[name], here=True)
    for name, digested in expected.items():
        case = cases[name]
        _, seconds, size = campaign.whole(case)
        faults: dict[str, tuple[int, Disturb]] = {
            "killed": (given.tries, functools.partial(campaign.kill, case, seconds)),
            "small disk": (others, functools.partial(campaign.small_disk, case, size)),
            TWO: (others, functools.partial(campaign.two, case)),
            "clock moved": (others, functools.partial(campaign.clock, case, seconds)),
        }
        for fault, (tries, disturb) in faults.items():
            if not chosen(fault):
                continue
            row = Row(command=name, fault=fault)
            for _ in range(tries):
                campaign.attempt(case, row, digested, disturb)
            finish(row)
        if campaign.can_mount and chosen("full cache"):
            row = Row(command=name, fault="full cache")
            for _ in range(others):
                campaign.full_cache(case, row)
            finish(row)
    return int(any(row.survived < row.tried for row in rows))


def write(path: Path, campaign: Campaign, rows: list[Row], seconds: float) -> None:
    """Write all that is known so far, beside what campaigns of other arguments found."""
    command = shlex.join(["python", *sys.argv])
    earlier = json.loads(path.read_text(encoding="utf-8")).get("runs", []) if path.exists() else []
    this = {
        "command": command,
        "small_disks": "file systems in memory" if campaign.can_mount else "a limit of the size of a file",
        "seconds": round(seconds),
        "rows": [asdict(row) for row in rows],
    }
    runs = [*(run for run in earlier if run["command"] != command), this]
    every = [row for run in runs for row in run["rows"]]
    totals = {
        fault: {
            name: round(sum(row[name] for row in every if row["fault"] == fault), 1)
            for name in ("tried", "struck", "survived", "seconds")
        }
        for fault in dict.fromkeys(row["fault"] for row in every)
    }
    found = {"totals": totals, "left_out": LEFT_OUT, "runs": runs}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
