"""Do a job in processes of this machine.

A pool of our own and not ``ProcessPoolExecutor``: that one ends all its processes when one dies, and cannot tell at
which input. Here a worker says which input it takes and what became of it. One that dies is replaced, what it had
not begun goes to the others, and what it was at is done again alone: an input that kills a worker alone, too, is at
fault, and nothing else is.
"""

import math
import os
import signal
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

import numba
import torch

from lexiseg.core.errors import LexisegError, OutputError
from lexiseg.runs.bulk.forkserver import import_for, process_context
from lexiseg.runs.bulk.job import Job, Numbered, Outcome, Workers

#: Times an input may take its worker down: once among others, once alone; where it cannot be left out, once more.
DEATHS_LISTED, DEATHS_FATAL = 2, 3

#: Workers that may die one after the other before any input is done.
_STILLBORN = 3

#: Seconds that a worker has to end the input it is at when the job is stopped.
_PATIENCE = 2.0


class _Worker:
    """A process, what it has been given, and since when it is silent."""

    def __init__(self, job: Job, number: int, threads: int) -> None:
        context = process_context()
        self.connection, theirs = context.Pipe()
        arguments = (theirs, job, number, threads)
        self.process = context.Process(target=_serve, args=arguments, daemon=True, name=f"lexiseg {number}")  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()  # so that its end is heard
        self.number = number
        self.given: dict[int, Any] = {}
        self.taken: list[int] = []
        self.is_alone = self.is_paused = False
        self.heard = time.monotonic()
        self.told = ""  # why it was ended

    def give(self, following: Numbered) -> None:
        self.given[following[0]] = following[1]
        self.is_paused = False
        self._send(following)

    def pause(self) -> None:
        """Let it end all that it has been given: nothing follows for now."""
        if self.given and not self.is_paused:
            self.is_paused = True
            self._send(None)

    def _send(self, message: Numbered | None) -> None:
        with suppress(OSError):  # dead: heard of later
            self.connection.send(message)

    def end(self) -> str:
        """Wait for the end of a process that has died; say what it died of."""
        self.connection.close()
        self.process.join()
        code = self.process.exitcode or 0
        if self.told or code >= 0:
            return self.told or f"exit code {code}"
        killed = "; too little memory ends processes so" if code == -signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{killed}"


def do_by_processes(job: Job, inputs: Iterable[Numbered], workers: Workers) -> Generator[Outcome, None, None]:
    """Do the inputs of a job in ``workers.count`` processes; yield outcomes as they come."""
    fresh = iter(inputs)
    again: deque[Numbered] = deque()  # given to a worker that died, and not begun
    suspects: deque[Numbered] = deque()
    deaths: Counter[int] = Counter()
    stillborn = 0
    pool: dict[Connection, _Worker] = {}
    window = math.inf if job.window is None else job.window * workers.count
    open_inputs: dict[
        int, int
    ] = {}  # begun and without an outcome, the oldest first; how many were begun before
    num_begun = 0

    def start(number: int) -> _Worker:
        worker = _Worker(job, number, workers.threads)
        pool[worker.connection] = worker
        return worker

    def feed(worker: _Worker) -> None:
        """Give a worker what it needs to go on while its last outcome is dealt with."""
        if suspects and not worker.given:
            worker.is_alone = True
            worker.give(suspects.popleft())
            worker.pause()
        elif not (worker.is_alone and worker.given):
            worker.is_alone = False
            while not worker.given or len(worker.given) - len(worker.taken) < job.ahead:
                if (following := take()) is None:
                    worker.pause()
                    break
                worker.give(following)

    def take() -> Numbered | None:
        return again.popleft() if again else begin()

    def begin() -> Numbered | None:
        """Return the next input; None at their end, and where an old one must have an outcome first."""
        nonlocal num_begun
        if num_begun - next(iter(open_inputs.values()), num_begun) >= window:
            return None
        if (following := next(fresh, None)) is not None:
            open_inputs[following[0]] = num_begun
            num_begun += 1
        return following

    def bury(worker: _Worker) -> Generator[Outcome, None, None]:
        """Share out what a dead worker had, replace it, and give up on what died of itself."""
        nonlocal stillborn
        cause = worker.end()
        stillborn = 0 if worker.taken else stillborn + 1
        if stillborn == _STILLBORN:
            raise _stillborn(job, cause)
        again.extendleft(
            reversed([(number, item) for number, item in worker.given.items() if number not in worker.taken])
        )
        for number in worker.taken:
            deaths[number] += 1
            if not job.lists_failures and deaths[number] == DEATHS_FATAL:
                raise deadly(job, worker.given[number], cause)
            if job.lists_failures and deaths[number] == DEATHS_LISTED:
                del open_inputs[number]
                yield Outcome(number=number, state="failed", message=death_message(cause))
            else:
                suspects.append((number, worker.given[number]))
        if not again and not suspects and (following := begin()) is not None:
            again.append(following)
        if again or suspects:
            feed(start(worker.number))

    try:
        import_for(job, workers)
        for number in range(workers.count):
            if (first := begin()) is None:
                break
            start(number).give(first)  # each gets one before any gets more
        for worker in pool.values():
            feed(worker)
        while any(worker.given for worker in pool.values()):
            for connection in wait(list(pool), timeout=_rest(job, pool.values())):
                worker = pool[connection]  # type: ignore[index]
                try:
                    said = worker.connection.recv()
                except (EOFError, OSError):
                    del pool[worker.connection]
                    yield from bury(worker)
                    continue
                worker.heard = time.monotonic()
                match said:
                    case int():
                        worker.taken.append(said)
                        feed(worker)
                    case Warning():
                        warnings.warn(said, stacklevel=2)
                    case BaseException():
                        raise said
                    case Outcome():
                        stillborn = 0
                        worker.taken.remove(said.number)
                        del worker.given[said.number], open_inputs[said.number]
                        feed(worker)
                        # what is there after a death was done before it, and not told
                        was_done = said.state == "there" and deaths[said.number]
                        yield replace(said, state="done") if was_done else said
                        if job.window is not None:  # others may have waited for it
                            for each in pool.values():
                                feed(each)
            _end_hanging(job, pool.values())
    finally:
        _dismiss(list(pool.values()))


def _rest(job: Job, workers: Iterable[_Worker]) -> float | None:
    """Return how long nobody needs to be looked after; None for ever."""
    if job.seconds is None:
        return None
    heard = [worker.heard for worker in workers if worker.taken]
    return max(0.0, min(heard, default=time.monotonic()) + job.seconds - time.monotonic())


def _end_hanging(job: Job, workers: Iterable[_Worker]) -> None:
    """End workers that take too long over an input; their end is heard as every other."""
    for worker in workers:
        if job.seconds is not None and worker.taken and time.monotonic() - worker.heard >= job.seconds:
            worker.told = f"no end after {job.seconds:g} s"
            worker.process.kill()


def _dismiss(workers: list[_Worker]) -> None:
    """Let workers end what they are at, for a little while; then end them."""
    for worker in workers:
        worker.connection.close()
    end = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(connection: Connection, job: Job, number: int, threads: int) -> None:
    """Work in a process of its own until nothing more comes."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to all; whoever gave the work says when to stop
    limit_threads(threads)
    try:
        with _told(connection):
            job.begin(number)
            received = _Received(connection)
            while not received.is_over:
                for outcome in job.work(received):
                    connection.send(outcome)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return  # nobody is left to work for
    except BaseException as error:
        with suppress(OSError):
            connection.send(portable(error))


class _Received:
    """Inputs as they come, up to a pause; what follows it comes when they are asked for again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_over = False

    def __iter__(self) -> Iterator[Numbered]:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                self.is_over = True
                return
            if message is None:
                return
            self._connection.send(message[0])  # taken
            yield message


@contextmanager
def _told(connection: Connection) -> Iterator[None]:
    """Send warnings to whoever shows them."""
    with warnings.catch_warnings():

        def tell(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            if isinstance(message, UserWarning):
                connection.send(message)

        warnings.showwarning = tell
        yield


def portable(error: BaseException) -> BaseException:
    """Return an error that can be sent: one of ours, or a stop, as it is; of others the text with where it arose."""
    if isinstance(error, LexisegError) or not isinstance(error, Exception):
        return error
    return RuntimeError("in a worker:\n" + "".join(traceback.format_exception(error)))


def limit_threads(threads: int) -> None:
    """Let this process compute with a number of threads, that several do not fight for the same cores."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for what is not loaded yet
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


def death_message(cause: str) -> str:
    """Say why an input was given up."""
    return f"it ended {DEATHS_LISTED} workers, the last one alone ({cause}). Look at it by itself."


def deadly(job: Job, item: Any, cause: str) -> OutputError:
    """Return the error of an input that cannot be left out."""
    return OutputError(
        doing=f"{job.name}: {item}",
        found=f"a worker that died {DEATHS_FATAL} times at it ({cause})",
        expected="a worker that lives to the end",
        fix="Too little memory kills workers: use fewer --workers. The same command goes on from there.",
    )


def _stillborn(job: Job, cause: str) -> OutputError:
    return OutputError(
        doing=f"{job.name}: starting workers",
        found=f"{_STILLBORN} workers that died before their first input ({cause})",
        expected="workers that load the model and begin",
        fix="Too little memory kills workers: use fewer --workers. Without the option, the work is done in this process.",
    )
