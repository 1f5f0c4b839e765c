"""Do a job: in this process, in processes of this machine, or on a cluster."""

from collections.abc import Generator, Iterable

from lexiseg.runs.bulk.job import Job, Numbered, Outcome, Workers


def do_job(job: Job, inputs: Iterable[Numbered], workers: Workers) -> Generator[Outcome, None, None]:
    """Do the inputs of a job; yield the outcome of each, once.

    With one worker they come in the order of the inputs, otherwise as they end. Inputs are taken a few at a time, so
    memory does not grow with their number.

    Args:
        job: What is done.
        inputs: Numbers, no two alike, with what the job needs to know.
        workers: Who does it.

    Raises:
        LexisegError: What the job raised.
        OutputError: Workers die and die, at no input or at one that the job cannot leave out.
        MissingPackageError: Ray is asked for and not installed.
    """
    if workers.are_here:
        return job.work(inputs)
    if workers.ray_address is None:
        from lexiseg.runs.bulk.processes import do_by_processes

        return do_by_processes(job, inputs, workers)
    from lexiseg.runs.bulk.ray_data import do_by_ray

    return do_by_ray(job, inputs, workers)
