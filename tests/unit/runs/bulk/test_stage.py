import os
import subprocess
import sys

import pytest

from curation_toys import (
    CountingStage,
    contents,
    curate,
    embed_shards,
    write_images,
    write_words,
)
from lexiseg.core.errors import InputError, OutputError
from lexiseg.data.curation.cluster import ClusterShards
from lexiseg.data.curation.rank import FindConcepts, RankShards
from lexiseg.data.curation.search import SearchSettings, SearchShards
from lexiseg.runs.bulk.job import Workers
from lexiseg.runs.bulk.stage import do_shards


def done(folder):
    return {file.stem: file.read_text() for file in folder.glob("*.txt")}


SQUARES = {str(number): str(number**2) for number in range(6)}


@pytest.mark.parametrize("count", [1, 9])
def test_every_shard_is_done_once_and_what_is_there_is_kept(tmp_path, count):
    (tmp_path / "3.txt").write_text("9")
    before = (tmp_path / "3.txt").stat().st_mtime_ns
    steps = []
    stage = CountingStage(tmp_path)
    assert do_shards(stage, Workers(count=count), advance=lambda: steps.append(1)) == 5
    assert done(tmp_path) == SQUARES
    assert len(steps) == 5
    assert (tmp_path / "3.txt").stat().st_mtime_ns == before
    assert do_shards(stage, Workers(count=count)) == 0


def test_killed_workers_lose_nothing(tmp_path):
    do_shards(CountingStage(tmp_path, deadly=(0, 4)), Workers(count=2))
    assert done(tmp_path) == SQUARES
    assert {file.name for file in tmp_path.glob("*.died")} == {"0.died", "4.died"}


def test_a_shard_that_kills_every_worker_is_named(tmp_path):
    with pytest.raises(
        OutputError, match=r"shard 2, .*2\.txt: found a worker that died 3 times.*fewer --workers"
    ):
        do_shards(CountingStage(tmp_path, count=3, deadly=(2,), always=True), Workers(count=2))
    assert done(tmp_path) == {"0": "0", "1": "1"}


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_a_shard_comes_out_as_it_is(tmp_path, count):
    with pytest.raises(InputError, match=r"shard 1: found nothing; expected something\. Look\."):
        do_shards(CountingStage(tmp_path, wrong=(1,)), Workers(count=count))


def test_no_worker_is_refused():
    with pytest.raises(InputError, match="0 workers"):
        Workers(count=0)


STAGES = {
    "find": lambda data, out, words: FindConcepts(out, words),
    "embed": lambda data, out, words: embed_shards(data, out),
    "search": lambda data, out, words: SearchShards(out, out, SearchSettings(neighbours=4)),
    "rank": lambda data, out, words: RankShards(out, words),
    "cluster": lambda data, out, words: ClusterShards(out),
}
QUICK, *REST = STAGES


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    home = tmp_path_factory.mktemp("curated")
    data, out, words = write_images(home / "data", 18), home / "curation", write_words(home / "words")
    curate(data, out, words)
    return data, out, words


@pytest.mark.parametrize(
    "name", [QUICK, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in REST)]
)
def test_processes_write_the_same_bytes(curated, name):
    """Every stage begins from what one process wrote, and leaves the same."""
    stage, (_, out, _) = STAGES[name](*curated), curated
    whole = contents(out)
    for number in range(stage.shards()):
        stage.target(number).unlink()
    assert do_shards(stage, Workers(count=2)) == 3
    assert contents(out) == whole


#: Ray's driver in a process of its own: where Ray ends it, the tests go on. Two machines of one worker each are joined.
RAY = """
import sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from curation_toys import CountingStage
from lexiseg.core.errors import InputError
from lexiseg.runs.bulk.job import Workers
from lexiseg.runs.bulk.stage import do_shards

folder = Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
do_shards(CountingStage(folder, deadly=(3,)), Workers(count=2, ray_address=cluster.address))
try:
    do_shards(CountingStage(folder / "wrong", wrong=(1,)), Workers(count=1, ray_address=cluster.address))
except InputError as error:
    print(error)
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.exhaustive
def test_a_cluster_of_ray_loses_nothing_by_a_killed_worker_and_errors_come_out(tmp_path):
    pytest.importorskip("ray")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", RAY, str(tmp_path)]
    for _ in range(3):  # a driver that Ray ended is no loss either: the same command goes on
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        if ended.returncode == 0:
            break
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert done(tmp_path) == SQUARES
    assert (tmp_path / "3.died").exists()
    assert "shard 1: found nothing; expected something. Look." in ended.stdout
