"""Machine code on disk: damaged files, full disks and folders without rights cost a compilation, never a run."""

import importlib.util
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from numba.core.caching import CompileResultCacheImpl

from lexiseg.core import compiled
from mutations import mutated

SOURCE = """
from lexiseg.core.compiled import njit

@njit(cache=True)
def double(values):
    total = 0.0
    for value in values:
        total += {factor} * value
    return total
"""


def fresh(path: Path):
    """Import the kernel anew, as another process would."""
    spec = importlib.util.spec_from_file_location(f"kernel_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.double


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(compiled, "_warned", set())
    path = tmp_path / "made.py"
    path.write_text(SOURCE.format(factor="2.0"))
    assert fresh(path)(np.ones(3)) == 6
    return path


def kept(path: Path) -> list[Path]:
    return sorted((path.parent / "__pycache__").glob("*.nb[ic]"))


def test_what_was_compiled_is_taken_from_disk(kernel):
    again = fresh(kernel)
    assert again(np.ones(3)) == 6
    assert sum(again.stats.cache_hits.values()) == 1
    assert len(kept(kernel)) == 2


@pytest.mark.parametrize("number", range(6))
def test_damaged_files_are_compiled_again(kernel, number):
    random = Random(number)
    for path in kept(kernel)[number % 2 :]:
        before = path.read_bytes()
        while (after := mutated(before, random)) == before:
            pass
        path.write_bytes(after)
    again = fresh(kernel)
    assert again(np.ones(3)) == 6
    assert not again.stats.cache_hits
    assert sum(fresh(kernel).stats.cache_hits.values()) == 0  # not called yet
    last = fresh(kernel)
    last(np.ones(3))
    assert sum(last.stats.cache_hits.values()) == 1


def test_machine_code_of_an_earlier_source_is_not_run_for_a_new_index(kernel):
    (_, data) = kept(kernel)
    old = data.read_bytes()
    kernel.write_text(SOURCE.format(factor="30.0"))
    assert fresh(kernel)(np.ones(3)) == 90
    data.write_bytes(old)  # a kill between index and data
    assert fresh(kernel)(np.ones(3)) == 90


def test_a_disk_without_room_and_a_place_without_rights_cost_a_note(kernel, monkeypatch):
    for path in kept(kernel):
        path.unlink()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled._CheckedFiles, "save", refuse)
    with pytest.warns(UserWarning, match=r"No space left.*NUMBA_CACHE_DIR"):
        assert fresh(kernel)(np.ones(3)) == 6
    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])
    compiled._warned.clear()
    with pytest.warns(UserWarning, match="cannot be kept"):
        double = fresh(kernel)
    assert double(np.ones(3)) == 6
