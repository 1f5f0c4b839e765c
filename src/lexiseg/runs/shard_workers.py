"""Do the shards of a stage here, in processes of this machine, or on a cluster by Ray Data.

Each shard is done by one call that writes its file whole or not at all, so the results do not depend on who does what,
and a worker that dies loses the shard it was at, which is done again by another. With more than one worker each uses
one thread.
"""

import importlib.util
import logging
import multiprocessing
import multiprocessing.context
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from lexiseg.core.atomic_write import sweep_dead
from lexiseg.core.errors import InputError, LexisegError, MissingPackageError, OutputError
from lexiseg.data.curation.shard_stage import ShardStage

#: Times a shard may take its worker down before it is given up.
_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who does the shards.

    Attributes:
        count: Processes; one works in this process.
        ray: Through Ray Data; the folder must be one that all machines see.
        ray_address: Cluster to join, such as ``auto`` or ``ray://host:10001``; None starts Ray on this machine.
    """

    count: int = 1
    ray: bool = False
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(
                doing="starting workers",
                found=f"{self.count} workers",
                expected="one or more",
                fix="Leave --workers out for one.",
            )


def do_shards(stage: ShardStage, workers: Workers, *, advance: Callable[[], None] = lambda: None) -> int:
    """Do the shards of a stage that are not done.

    Args:
        stage: Begun already.
        workers: Who does them.
        advance: Called after each.

    Returns:
        How many were done now.

    Raises:
        LexisegError: What a shard raised.
        OutputError: A shard took its worker down again and again.
        MissingPackageError: Ray is asked for and not installed.
    """
    pending = stage.pending()
    if not pending:
        return 0
    if workers.ray or workers.ray_address is not None:
        _do_by_ray(stage, pending, workers, advance)
    elif workers.count == 1:
        for number in pending:
            stage.work(number)
            advance()
    else:
        _do_by_processes(stage, pending, workers.count, advance)
    return len(pending)


def _do_by_processes(stage: ShardStage, pending: list[int], count: int, advance: Callable[[], None]) -> None:
    """Do shards in processes; where one was killed, begin again with what is left."""
    tries = dict.fromkeys(pending, 0)
    context = _context()
    while tries:
        # A pool that lost a process is of no use any more: make another.
        with ProcessPoolExecutor(min(count, len(tries)), context, _begin_worker, (stage,)) as pool:
            waiting: dict[Future[int], int] = {}
            left = list(tries)
            try:
                while left or waiting:
                    while (
                        left and len(waiting) < count
                    ):  # no more than are at work, or a death would blame others
                        number = left.pop(0)
                        waiting[pool.submit(_work, number)] = number
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        number = future.result()
                        del waiting[future], tries[number]
                        advance()
            except BrokenProcessPool:
                for number in waiting.values():
                    if number in tries and not stage.target(number).is_file():
                        tries[number] += 1
                        if tries[number] == _TRIES:
                            raise _deadly(stage, number) from None
                tries = {
                    number: tried for number, tried in tries.items() if not stage.target(number).is_file()
                }
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for folder in {stage.target(number).parent for number in tries}:
            sweep_dead(folder)  # the pool's other processes were ended as well, and are gone only now


def _context() -> multiprocessing.context.BaseContext:
    """Choose how processes begin: forked from a server that has imported everything, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


_stage: ShardStage | None = None


def _begin_worker(stage: ShardStage) -> None:
    global _stage
    torch.set_num_threads(1)
    _stage = stage


def _work(number: int) -> int:
    assert _stage is not None
    _stage.work(number)
    return number


class _RayWorker:
    """What Ray keeps alive in each of its processes."""

    def __init__(self, stage: ShardStage) -> None:
        torch.set_num_threads(1)
        self._stage = stage

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["shard"])
        if not self._stage.target(
            number
        ).is_file():  # Ray does a shard again whose worker died after writing it
            try:
                self._stage.work(number)
            except LexisegError as error:
                return {
                    "shard": number,
                    "error": [type(error).__name__, error.doing, error.found, error.expected, error.fix],
                }
        return {"shard": number, "error": None}


def _do_by_ray(stage: ShardStage, pending: list[int], workers: Workers, advance: Callable[[], None]) -> None:
    if importlib.util.find_spec("ray") is None:
        raise MissingPackageError.of("ray", doing=stage.name, extra="ray")
    import ray
    import ray.data

    from lexiseg.core import errors

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
        address = workers.ray_address
        here: dict[str, Any] = {} if address else {"num_cpus": workers.count, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **here)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0
    shards = ray.data.from_items([{"shard": number} for number in pending], override_num_blocks=len(pending))
    pool = ray.data.ActorPoolStrategy(size=min(workers.count, len(pending)))
    done = shards.map(_RayWorker, fn_constructor_args=(stage,), compute=pool, num_cpus=1)
    for row in done.iter_rows():
        if row["error"] is not None:
            name, doing, found, expected, fix = row["error"]
            raise getattr(errors, name)(doing=doing, found=found, expected=expected, fix=fix)
        advance()


def _deadly(stage: ShardStage, number: int) -> OutputError:
    return OutputError(
        doing=f"{stage.name}: shard {number}, {stage.target(number)}",
        found=f"a worker that died {_TRIES} times at it",
        expected="a worker that lives to the end",
        fix="Too little memory kills workers: use fewer --workers. The same command goes on from there.",
    )
