"""Two processes do what one does on the same batches."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import toy_runs
from lexiseg.core.errors import InputError, MissingPackageError
from lexiseg.engine import devices
from lexiseg.engine.devices import choose_device, open_devices
from lexiseg.engine.log import read_log

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed (extra train)"
)


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", "2", str(FIXTURES / "toy_runs.py"), str(out)]
    paths = os.pathsep.join([str(ROOT / "src"), str(FIXTURES)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def numbers(run: Path) -> dict[str, float]:
    """Every number of a log by where it stands."""
    found = {}
    for index, line in enumerate(read_log(run)):
        for key, value in line.items():
            values = value if isinstance(value, dict) else {"": value}
            found |= {f"{index} {key} {name}": number for name, number in values.items()}
    return found


@pytest.mark.exhaustive
@needs_accelerate
@pytest.mark.parametrize("name", toy_runs.RUNS)
def test_two_processes_equal_one_on_the_same_global_batch(on_two, tmp_path, name):
    toy_runs.make(name, tmp_path)
    one, two = (load_file(out / name / "model.safetensors") for out in (tmp_path, on_two))
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-6)
    assert numbers(on_two / name) == pytest.approx(numbers(tmp_path / name), abs=1e-5)


@pytest.mark.exhaustive
@needs_accelerate
def test_two_processes_with_shards_stopped_and_resumed_end_the_same(on_two):
    whole = load_file(on_two / "contrast in shards" / "model.safetensors")
    resumed = load_file(on_two / "resumed" / "contrast in shards" / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole | resumed)


@pytest.mark.exhaustive
@needs_accelerate
def test_nodes_without_a_shared_folder_resume_and_end(on_two):
    whole = load_file(on_two / "contrast" / "model.safetensors")
    apart = on_two / "apart"
    resumed = load_file(apart / "node 0/contrast/model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole | resumed)
    assert not list((apart / "node 1").rglob("*.safetensors"))
    first, second = (load_file(apart / f"weights on {rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(whole[name], first[name]) for name in whole)
    assert first.keys() == second.keys()  # the last weights: the running mean is in the run's folder


def test_several_processes_without_accelerate_name_the_extra(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "lexiseg\[train\]"'):
        open_devices("auto", "ddp")


def test_one_process_needs_no_accelerate(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    found = open_devices("cpu", "fsdp")
    assert (found.world_size, found.is_main, found.is_sharded) == (1, True, False)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="choosing the device 'cuda:99'"):
        open_devices("cuda:99", "ddp")


@pytest.mark.parametrize("name", ["meta", "nonsense", "", "cuda:99", "cpu:x"])
def test_a_device_that_cannot_compute_here_is_refused(name):
    with pytest.raises(InputError, match="choosing the device"):
        choose_device(name)
