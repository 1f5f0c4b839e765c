"""How processes of a job begin: forked from a server that has imported what they need, where there is one."""

import multiprocessing
import multiprocessing.context
import signal

from lexiseg.runs.bulk.job import Job, Workers

#: What every worker runs.
_SERVING = "lexiseg.runs.bulk.processes"


def process_context() -> multiprocessing.context.BaseContext:
    """Choose how processes begin: forked from a server where that can be, else from nothing."""
    has_server = "forkserver" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if has_server else "spawn")


def import_for(job: Job | type[Job], workers: Workers) -> None:
    """Let a server begin to import what workers need, while this process gets ready itself.

    Returns at once. Nothing happens where no processes will be started, or the server is there already.

    Args:
        job: What will be done, or what kind of job.
        workers: Who will do it.
    """
    context = process_context()
    if workers.are_here or workers.ray_address is not None or context.get_start_method() != "forkserver":
        return
    from multiprocessing import forkserver, resource_tracker

    context.set_forkserver_preload([_SERVING, job.__module__, *job.modules])
    # Ctrl-C goes to all processes of a terminal, and one that imports would answer with a traceback
    resource_tracker.ensure_running()  # lifts the mask when it begins
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
