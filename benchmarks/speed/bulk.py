"""Bulk work: two workers against one, what the layer itself costs, Ray against processes, the start over a long list.

    python benchmarks/speed/bulk.py [--images 64] [--repeats 3] [--names 1000000] [--many 100000]
        [--parts list layer ray segment score many]

*list*: a list of names is planned in a process of its own: seconds until the first image is known, and memory above
what Python and the imports take.

*layer*: images of 50 ms (a sleep: nothing competes for cores) in a plain loop, and through the job layer with its
file of states: in this process, and by two processes, whose time is compared with half of the loop's. The start
of workers is left out.

*ray*: four times as many of these images by two workers of Ray Data and by two processes, from when the first worker
takes its first image to the end of the last: the start of both is left out. (Ray tells of images shard by shard, so
that the first outcome is no beginning.)

*segment*: ``lexiseg segment`` with ``mini``, files to files, one thread a worker: one worker, two workers, in turns.
``whole`` is the command with loading the model; ``rate`` is images a second between the first and the last.

*score*: label pairs of a store of drawn label maps (ADE20K's size), regions and bands along borders, by this process on one
thread and by two workers: images a second between the first and the last part of the counts, and the whole with the start.

*many*: small image files are read by two processes; resident memory and open files of the first and of the last images.

Ratios hold where nobody else uses the cores.
"""

import argparse
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
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        whole: dict[int, list[float]] = {1: [], 2: []}
        rates: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(repeats):
            for workers in (1, 2):
                out = Path(folder, f"out-{workers}-{turn}")
                command = [
                    sys.executable,
                    "-m",
                    "lexiseg",
                    "segment",
                    str(photos),
                    "--words",
                    "person, cat, cup, rocket",
                ]
                start = time.perf_counter()
                subprocess.run(
                    [*command, "--out", str(out), "--workers", str(workers)],
                    env=environment,
                    check=True,
                    capture_output=True,
                )
                whole[workers].append(time.perf_counter() - start)
                written = sorted(path.stat().st_mtime for path in out.glob("*.json"))
                assert read_states(out).done == count
                rates[workers].append((count - 1) / (written[-1] - written[0]))
    rows: list[Row] = []
    for workers in (1, 2):
        seconds, rate = statistics.median(whole[workers]), statistics.median(rates[workers])
        rows.append(
            {
                "part": "segment",
                "workers": workers,
                "images": count,
                "whole_seconds": round(seconds, 2),
                "images_a_second": round(rate, 2),
                "whole_ratio": round(statistics.median(whole[1]) / seconds, 2),
                "rate_ratio": round(rate / statistics.median(rates[1]), 2),
            }
        )
    return rows


def main() -> None:
    """Run the parts and write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--many", type=int, default=100_000)
    parts = ["list", "layer", "ray", "segment", "score", "many"]
    parser.add_argument("--parts", nargs="*", default=parts)
    given = parser.parse_args()
    made = {
        "list": lambda: of_list(given.names),
        "layer": lambda: of_layer(given.images, given.repeats),
        "ray": lambda: of_ray(4 * given.images, given.repeats),
        "segment": lambda: of_segment(given.images, given.repeats),
        "score": lambda: of_score(2000, given.repeats),
        "many": lambda: of_many(given.many),
    }
    rows = [row for part in given.parts for row in made[part]()]
    for part in given.parts:
        print_rows([row for row in rows if row["part"] == part], f"bulk: {part}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    more = {"peak_megabytes": round(peak), "given": vars(given)}
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "numba", "ray"], **more)


if __name__ == "__main__":
    main()
