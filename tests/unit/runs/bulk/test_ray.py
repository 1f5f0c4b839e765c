"""Two machines of one worker each, joined by Ray; one is taken away in the middle, and one image kills its workers."""

import json
import os
import subprocess
import sys

import pytest

from bulk_toys import results

#: The driver in a process of its own: where Ray ends it, the tests go on.
RAY = """
import json, sys, warnings
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from bulk_toys import Scripted
from lexiseg.runs.bulk.job import Workers
from lexiseg.runs.bulk.run import do_job

folder = Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
texts = ["slow"] * 14
texts[4], texts[9] = "killed", "warns"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = do_job(Scripted(folder), enumerate(texts), Workers(count=2, ray_address=cluster.address))
    outcomes = [next(found)]
    cluster.remove_node(other, allow_graceful=False)
    outcomes += found
told = sorted({str(each.message) for each in caught if type(each.message).__name__ == "ImageWarning"})
deprecated = [str(each.message) for each in caught if "RayDeprecation" in each.category.__name__]
outcomes = [[one.number, one.state, one.message] for one in outcomes]
print("FOUND" + json.dumps({"outcomes": outcomes, "told": told, "deprecated": deprecated}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.exhaustive
def test_a_lost_machine_and_a_deadly_image_cost_nothing_else(tmp_path):
    pytest.importorskip("ray")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", RAY, str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith("FOUND"))
    found = json.loads(line.removeprefix("FOUND"))
    states = {number: state for number, state, _ in found["outcomes"]}
    assert len(found["outcomes"]) == len(states) == 14
    assert states == {**dict.fromkeys(range(14), "done"), 4: "failed"}
    assert results(tmp_path) == {number: f"result {number}" for number in range(14) if number != 4}
    assert found["told"] == ["9 is odd"]
    assert found["deprecated"] == []
