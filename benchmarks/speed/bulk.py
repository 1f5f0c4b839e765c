"""Bulk work: two workers against one, what the layer itself costs, Ray against processes, the start over a long list.

    python benchmarks/speed/bulk.py [--images 64] [--repeats 3] [--names 1000000 5000000] [--many 100000]
        [--parts list layer ray segment score many]

Rows of parts that are not asked for stay in the JSON, with the day on which they were measured and what was given then.

*list*: lists of names are planned, each in a process of its own: seconds until the first image is known, and memory above
what Python and the imports take.

*layer*: images of 50 ms (a sleep: nothing competes for cores) in a plain loop, and through the job layer with its
file of states: in this process, and by two processes, whose time is compared with half of the loop's. The start
of workers is left out.

*ray*: four times as many of these images by two workers of Ray Data and by two processes, from when the first worker
takes its first image to the end of the last: the start of both is left out. (Ray tells of images shard by shard, so
that the first outcome is no beginning.)

*segment*: ``lexiseg segment`` with ``mini``, files to files, one thread a process: one worker, two workers, and, as a ceiling,
two commands of one worker that begin together and know nothing of each other, each with half of the images; in turns.
``whole`` is the command from its start to its end, with loading the model; ``rate`` is images a second from the first
result to the last, of the ceiling while both are at work. The ceiling is what these cores can give two processes.

*score*: label pairs of a store of drawn label maps (ADE20K's size), regions and bands along borders, by this process on one
thread and by two workers: images a second between the first and the last part of the counts, and the whole with the start.

*many*: small image files are read by two processes; resident memory and open files of the first and of the last images.

Ratios hold where nobody else uses the cores.
"""

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path

from timing import Row, print_rows, write_json

from lexiseg.data.images import load_image
from lexiseg.runs.bulk.inputs import plan_images
from lexiseg.runs.bulk.job import LOCAL_RAY, Job, Numbered, Outcome, Workers
from lexiseg.runs.bulk.run import do_job
from lexiseg.runs.bulk.states import noting, read_states

SECONDS = 0.05

PLAN = """
import resource, sys, time
from pathlib import Path
from lexiseg.data.image_files import PassedOver
from lexiseg.runs.bulk.inputs import plan_images
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
cpu = time.process_time()
plan = plan_images((), Path("out"), PassedOver(), lists=(sys.argv[1],))
plan[0]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(plan), time.perf_counter() - start, time.process_time() - cpu, (after - before) / 1024, after / 1024)
"""


class Sleeping(Job):
    """Takes 50 ms an input."""

    name = "sleeping"

    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Sleep."""
        for number, _ in inputs:
            start = time.time()
            time.sleep(SECONDS)
            yield Outcome(number=number, state="done", content=(start, time.time()))


def of_list(names: int) -> list[Row]:
    """Plan a long list."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.txt")
        with path.open("w") as file:
            for number in range(names):
                file.write(f"photos/{number // 1000:05}/image-{number:09}.jpg\n")
        answer = subprocess.run(
            [sys.executable, "-c", PLAN, str(path)], capture_output=True, text=True, check=True
        )
    count, seconds, cpu, grown, whole = map(float, answer.stdout.split())
    row = {"part": "list", "names": int(count), "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2)}
    return [{**row, "megabytes_more": round(grown), "megabytes_in_all": round(whole)}]


def through(workers: Workers, count: int, folder: Path) -> float:
    """Return the seconds from the first image's beginning to the last one's end, as the workers' clocks have them."""
    begun, ended = [], []
    with (
        noting(folder, command="sleep", total=count, workers=workers.count) as log,
        closing(do_job(Sleeping(), ((number, None) for number in range(count)), workers)) as outcomes,
    ):
        for outcome in outcomes:
            log.note(outcome, f"photos/{outcome.number}", "")
            begun.append(outcome.content[0])
            ended.append(outcome.content[1])
    return max(ended) - min(begun)


def loop(count: int) -> float:
    """Return the seconds of a plain loop."""
    start = time.perf_counter()
    for _ in range(count):
        time.sleep(SECONDS)
    return time.perf_counter() - start


def of_layer(count: int, repeats: int) -> list[Row]:
    """Compare the layer with a loop."""
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[], float]] = {
            "loop": lambda: loop(count),
            "here": lambda: through(Workers(), count, Path(folder)),
            "two processes, twice their time": lambda: 2 * through(Workers(count=2), count, Path(folder)),
        }
        return in_turns("layer", ways, repeats)


def of_ray(count: int, repeats: int) -> list[Row]:
    """Compare Ray on this machine with processes."""
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[], float]] = {
            "two processes": lambda: through(Workers(count=2), count, Path(folder)),
            "Ray, two workers": lambda: through(Workers(count=2, ray_address=LOCAL_RAY), count, Path(folder)),
        }
        return in_turns("ray", ways, repeats)


def of_score(images: int, repeats: int) -> list[Row]:
    """Count a store by one and by two workers."""
    from store import NUM_CLASSES, SIZE, write_store

    from lexiseg.runs.bulk.each import mapper
    from lexiseg.scoring.store.counts import StoreCounter
    from lexiseg.scoring.store.store import PredictionStore

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), images, SIZE, NUM_CLASSES)
        for kind, boundary in (("regions", None), ("boundary", 0.02)):
            rates: dict[int, list[float]] = {1: [], 2: []}
            wholes: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(repeats):
                for workers in (1, 2):
                    times: list[float] = []

                    def timed(function, inputs, workers=workers, times=times):  # type: ignore[no-untyped-def]
                        for result in mapper("scoring", Workers(count=workers))(function, inputs):
                            times.append(time.perf_counter())
                            yield result

                    begun = time.perf_counter()
                    StoreCounter(PredictionStore(Path(folder)), apply=timed).counts(boundary)
                    wholes[workers].append(time.perf_counter() - begun)
                    counted = images * (len(times) - 1) / len(times)
                    rates[workers].append(counted / (times[-1] - times[0]))
            for workers in (1, 2):
                rate, whole = statistics.median(rates[workers]), statistics.median(wholes[workers])
                rows.append(
                    {
                        "part": "score",
                        "what": kind,
                        "workers": workers,
                        "images": images,
                        "images_a_second": round(rate, 1),
                        "rate_ratio": round(rate / statistics.median(rates[1]), 2),
                        "whole_seconds": round(whole, 2),
                        "whole_ratio": round(statistics.median(wholes[1]) / whole, 2),
                    }
                )
    return rows


class Reading(Job):
    """Reads images; tells the memory of its process in MB, and its open files."""

    name = "reading"

    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Read."""
        for number, path in inputs:
            load_image(path)
            yield Outcome(number=number, state="done", content=usage() if number % 100 == 0 else None)


def usage() -> tuple[float, int]:
    """Return this process's resident memory in MB, and its open files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6, len(list(Path("/proc/self/fd").iterdir()))


def of_many(images: int) -> list[Row]:
    """Read many small images, and compare what the processes hold after a tenth and at the end."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        for number in range(images):
            file = Path(folder, "photos", f"{number // 1000:04}", f"{number:07}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number % 251, number % 241, 9)).save(file)
        begun = time.perf_counter()
        plan = plan_images((f"{folder}/photos",), Path(folder, "out"))
        planned = time.perf_counter() - begun
        inputs = ((number, plan[number][0]) for number in range(len(plan)))
        held: list[tuple[float, int, float, int]] = []
        workers = Workers(count=2)
        with (
            noting(Path(folder), command="read", total=images, workers=2) as log,
            closing(do_job(Reading(), inputs, workers)) as outcomes,
        ):
            for outcome in outcomes:
                log.note(outcome, plan.stem(outcome.number), "")
                if outcome.content is not None:
                    held.append((*usage(), *outcome.content))
        seconds = time.perf_counter() - begun - planned
    tenth = max(1, len(held) // 10)
    rows: list[Row] = []
    for when, some in (("second tenth", held[tenth : 2 * tenth]), ("last tenth", held[-tenth:])):
        driver, driver_files, worker, worker_files = (max(values) for values in zip(*some, strict=True))
        row = {"part": "many", "images": images, "when": when, "driver_megabytes": round(driver)}
        row |= {"driver_files": driver_files, "worker_megabytes": round(worker), "worker_files": worker_files}
        rows.append({**row, "plan_seconds": round(planned, 2), "images_a_second": round(images / seconds)})
    return rows


def in_turns(part: str, ways: dict[str, Callable[[], float]], repeats: int) -> list[Row]:
    """Time ways in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            times[name].append(way())
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    return [
        {"part": part, "way": name, "seconds": round(median, 3), "ratio": round(median / first, 3)}
        for name, median in medians.items()
    ]


def of_segment(count: int, repeats: int) -> list[Row]:
    """Segment photographs by one and by two workers."""
    import skimage.data
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        images = [
            skimage.data.astronaut(),
            skimage.data.chelsea(),
            skimage.data.coffee(),
            skimage.data.rocket(),
        ]
        for number in range(count):
            Image.fromarray(images[number % 4]).resize((640, 480)).save(photos / f"{number:04}.jpg")
        ways: dict[str, tuple[tuple[int, ...], int]] = {  # images of each command that runs, and its workers
            "one worker": ((count,), 1),
            "two workers": ((count,), 2),
            "ceiling: two commands of one worker": ((count // 2, count - count // 2), 1),
        }
        whole: dict[str, list[float]] = {way: [] for way in ways}
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(repeats):
            for number, (way, (shares, workers)) in enumerate(ways.items()):
                outs = [Path(folder, f"out-{turn}-{number}-{each}") for each in range(len(shares))]
                rest = iter(sorted(photos.iterdir()))
                lists = [Path(f"{out}.txt") for out in outs]
                for file, share in zip(lists, shares, strict=True):
                    file.write_text("".join(f"{next(rest)}\n" for _ in range(share)))
                start = time.perf_counter()
                running = [segment(file, out, workers) for file, out in zip(lists, outs, strict=True)]
                codes = [each.wait() for each in running]
                assert not any(codes)
                whole[way].append(time.perf_counter() - start)
                assert sum(read_states(out).done for out in outs) == count
                rates[way].append(rate_together(outs))
    first = next(iter(ways))
    rows: list[Row] = []
    for way in ways:
        seconds, rate = statistics.median(whole[way]), statistics.median(rates[way])
        rows.append(
            {
                "part": "segment",
                "way": way,
                "images": count,
                "whole_seconds": round(seconds, 2),
                "images_a_second": round(rate, 2),
                "whole_ratio": round(statistics.median(whole[first]) / seconds, 2),
                "rate_ratio": round(rate / statistics.median(rates[first]), 2),
            }
        )
    return rows


def segment(images: Path, out: Path, workers: int) -> "subprocess.Popen[bytes]":
    """Begin to segment the images of a list."""
    command = [
        sys.executable,
        "-m",
        "lexiseg",
        "segment",
        "--list",
        str(images),
        "--words",
        "person, cat, cup, rocket",
    ]
    return subprocess.Popen(
        [*command, "--out", str(out), "--workers", str(workers)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def rate_together(outs: list[Path]) -> float:
    """Return how many results a second were written while all of some commands were at work."""
    times = [sorted(path.stat().st_mtime for path in out.rglob("*.json")) for out in outs]
    begin, end = max(each[0] for each in times), min(each[-1] for each in times)
    return sum(begin < moment <= end for each in times for moment in each) / (end - begin)


def main() -> None:
    """Run the parts and write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--names", type=int, nargs="*", default=[1_000_000, 5_000_000])
    parser.add_argument("--many", type=int, default=100_000)
    parts = ["list", "layer", "ray", "segment", "score", "many"]
    parser.add_argument("--parts", nargs="*", default=parts)
    given = parser.parse_args()
    made = {
        "list": lambda: [row for names in given.names for row in of_list(names)],
        "layer": lambda: of_layer(given.images, given.repeats),
        "ray": lambda: of_ray(4 * given.images, given.repeats),
        "segment": lambda: of_segment(given.images, given.repeats),
        "score": lambda: of_score(2000, given.repeats),
        "many": lambda: of_many(given.many),
    }
    given_now = {name: value for name, value in vars(given).items() if name != "parts"}
    json_file = Path(__file__).with_suffix(".json")
    known = json.loads(json_file.read_text())
    rows = {part: [row for row in known["rows"] if row["part"] == part] for part in parts}
    measured = known["measured"]
    for part in given.parts:
        rows[part] = made[part]()
        print_rows(rows[part], f"bulk: {part}")
        measured[part] = {"date": datetime.date.today().isoformat(), **given_now}
        everything = [row for part in parts for row in rows[part]]
        write_json(json_file, everything, ["torch", "numba", "ray"], measured=measured)


if __name__ == "__main__":
    main()
