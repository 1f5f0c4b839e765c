"""A stage on shards as a job: each input is a shard, and none can be left out."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing

from lexiseg.data.curation.shard_stage import ShardStage
from lexiseg.runs.bulk.job import Job, Numbered, Outcome, Workers
from lexiseg.runs.bulk.run import do_job


class StageJob(Job):
    """Do the shards of a stage.

    Args:
        stage: Begun already.
    """

    ahead = 0
    shard = 1
    lists_failures = False

    def __init__(self, stage: ShardStage) -> None:
        self.name = stage.name
        self._stage = stage

    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Do shards that are not done."""
        for number, _ in inputs:
            # a cluster does a shard again whose worker died after writing it
            is_there = self._stage.target(number).is_file()
            if not is_there:
                self._stage.work(number)
            yield Outcome(number=number, state="there" if is_there else "done")


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
    inputs = ((number, f"shard {number}, {stage.target(number)}") for number in pending)
    with closing(do_job(StageJob(stage), inputs, workers)) as outcomes:
        for _ in outcomes:
            advance()
    return len(pending)
