"""Do a job on a cluster, or on this machine, by Ray Data: it starts workers, finds them work, and notes who is gone.

Ray does a task again when its worker died; here the second time does nothing, and what has no outcome after a pass is
done again input by input. An input that is without one after it was done with nobody beside it is at fault.
"""

import faulthandler
import importlib.util
import logging
import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from lexiseg.core.errors import MissingPackageError
from lexiseg.runs.bulk.begun import Begun
from lexiseg.runs.bulk.job import LOCAL_RAY, Job, Numbered, Outcome, Workers
from lexiseg.runs.bulk.processes import DEATHS_FATAL, deadly, limit_threads, portable

#: Inputs whose names are held at a time.
_WAVE = 1 << 18


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Inputs of one task. Of a class of ours, so that Ray carries it as it is instead of as columns."""

    inputs: list[Numbered]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a task tells."""

    outcomes: list[Outcome] = field(default_factory=list)
    warnings: list[UserWarning] = field(default_factory=list)
    error: BaseException | None = None


def do_by_ray(job: Job, inputs: Iterable[Numbered], workers: Workers) -> Generator[Outcome, None, None]:
    """Do the inputs of a job in ``workers.count`` actors of Ray; yield outcomes as they come.

    Raises:
        MissingPackageError: Ray is not installed.
    """
    _join(job, workers)
    waiting = iter(inputs)
    while wave := dict(islice(waiting, _WAVE)):
        for turn in range(DEATHS_FATAL):
            for outcome in _one_turn(job, wave, workers, turn):
                if wave.pop(outcome.number, _GONE) is not _GONE:  # Ray does again what a lost machine held
                    was_done = outcome.state == "there" and turn > 0  # before a death, and not told
                    yield replace(outcome, state="done") if was_done else outcome
            if not wave:
                break
        for number, item in wave.items():
            if not job.lists_failures:
                raise deadly(job, item, "seen by Ray")
            yield Outcome(number=number, state="failed", message=_GIVEN_UP)


_GONE = object()
_GIVEN_UP = f"no worker of {DEATHS_FATAL} lived to its end, the last one alone with it. Look at it by itself."


def _join(job: Job, workers: Workers) -> None:
    """Start Ray, or join a cluster."""
    if importlib.util.find_spec("ray") is None:
        raise MissingPackageError.of("ray", doing=job.name, extra="ray")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(
        logging.CRITICAL
    )  # it tells of each death, which is dealt with here
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
    is_local = workers.ray_address == LOCAL_RAY
    here: dict[str, Any] = {"num_cpus": workers.count, "include_dashboard": False} if is_local else {}
    address = None if is_local else workers.ray_address
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **here)


def _one_turn(job: Job, wave: dict[int, Any], workers: Workers, turn: int) -> Generator[Outcome, None, None]:
    """Do what has no outcome yet: a few inputs a task, then one, then each with nobody beside it.

    A machine takes all its workers along, so that only the last turn tells what is at fault.
    """
    if turn < DEATHS_FATAL - 1:
        yield from _one_pass(job, wave, workers, job.shard if turn == 0 else 1)
        return
    for number, item in list(wave.items()):
        yield from _one_pass(job, {number: item}, workers, 1)


def _one_pass(
    job: Job, wave: dict[int, Any], workers: Workers, a_task: int
) -> Generator[Outcome, None, None]:
    """Do what has no outcome yet, a few inputs a task; a task that dies is not done again in this pass."""
    import ray
    import ray.data

    # a machine that is lost takes the notes along: then a task is done once more
    begun = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Begun).remote()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    context.execution_options.preserve_order = job.window is not None
    left = iter(list(wave.items()))
    rows = [{"task": _Task(inputs=inputs)} for inputs in iter(lambda: list(islice(left, a_task)), [])]
    tasks = ray.data.from_items(rows, override_num_blocks=len(rows))
    with_gpu = job.uses_gpu and ray.cluster_resources().get("GPU", 0) > 0
    size = min(workers.count, len(rows))
    done = tasks.map(
        _RayWorker,
        fn_constructor_args=(job, begun),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size),
        num_cpus=1,
        num_gpus=1 if with_gpu else None,
    )
    for row in done.iter_rows():
        answer = row["answer"]
        for warning in answer.warnings:
            warnings.warn(warning, stacklevel=2)
        yield from answer.outcomes
        if answer.error is not None:
            raise answer.error


class _RayWorker:
    """What Ray keeps alive in each of its processes."""

    def __init__(self, job: Job, begun: Any) -> None:
        limit_threads(1)
        job.begin(0)  # Ray shows each worker its own GPU only
        self._job, self._begun = job, begun

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        inputs = row["task"].inputs
        if not ray.get(self._begun.is_first.remote(inputs[0][0])):
            return {"answer": _Answer()}
        outcomes: list[Outcome] = []
        error: BaseException | None = None
        with warnings.catch_warnings(record=True) as caught:
            try:
                for outcome in self._job.work(self._watched(inputs)):
                    outcomes.append(outcome)  # noqa: PERF402 - those before an error are kept
            except Exception as raised:
                error = portable(raised)
            finally:
                faulthandler.cancel_dump_traceback_later()
        told = [each.message for each in caught if isinstance(each.message, UserWarning)]
        return {"answer": _Answer(outcomes=outcomes, warnings=told, error=error)}

    def _watched(self, inputs: list[Numbered]) -> Iterator[Numbered]:
        """End this process when one input takes too long: by a thread that needs no lock of Python's."""
        for each in inputs:
            if self._job.seconds is not None:
                faulthandler.dump_traceback_later(self._job.seconds, exit=True, file=_nowhere)
            yield each


#: Where the traceback of a process that is ended goes.
_nowhere = os.open(os.devnull, os.O_WRONLY)
