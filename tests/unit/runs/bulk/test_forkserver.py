"""Where processes will do a job, what they need is imported once, by a server that is begun before they are."""

import os
import subprocess
import sys

import pytest

#: A job whose module says, in a file of its process's number, that it was imported; the server needs no torch here.
MODULE = """
import os
from pathlib import Path
Path(os.environ["IMPORTED"], str(os.getpid())).touch()
from lexiseg.runs.bulk.job import Job
class Idle(Job):
    modules = ("other_module",)
    def work(self, inputs):
        yield from ()
"""
OTHER = """
import os
from pathlib import Path
Path(os.environ["IMPORTED"], f"other-{os.getpid()}").touch()
"""
DRIVER = """
import os, signal, sys
from lexiseg.runs.bulk import forkserver
from lexiseg.runs.bulk.job import Workers
from idle_job import Idle

def say():
    import idle_job
    print("worker", os.getpid(), signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)

if __name__ == "__main__":
    forkserver._SERVING = "other_module"
    print("driver", os.getpid(), flush=True)
    forkserver.import_for(Idle, Workers(count=int(sys.argv[1]), ray_address=sys.argv[2] or None))
    for _ in range(int(sys.argv[3])):
        process = forkserver.process_context().Process(target=say)
        process.start()
        process.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no server forks processes here")
@pytest.mark.parametrize(
    ("count", "ray", "started", "by_server"),
    [("2", "", 2, 1), ("1", "", 0, 0), ("2", "local", 0, 0)],
    ids=["processes", "here", "Ray"],
)
def test_a_server_imports_once_for_all_that_begin(tmp_path, count, ray, started, by_server):
    for name, text in (("idle_job", MODULE), ("other_module", OTHER), ("driver", DRIVER)):
        (tmp_path / f"{name}.py").write_text(text)
    seen = tmp_path / "seen"
    seen.mkdir()
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py"), count, ray, str(started)],
        env={**os.environ, "PYTHONPATH": path, "IMPORTED": str(seen)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    (_, driver), *workers = (line.split(maxsplit=1) for line in ended.stdout.splitlines())
    imported = {file.name for file in seen.iterdir()}
    assert len(workers) == started
    assert all(rest.endswith("True") for _, rest in workers), "Ctrl-C would end what imports with a traceback"
    by_others = {name for name in imported if not name.startswith("other-")} - {driver}
    assert len(by_others) == by_server
    assert not by_others & {rest.split()[0] for _, rest in workers}
    assert len(imported - by_others - {driver}) == by_server, "modules of the job"
