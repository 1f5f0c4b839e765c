"""The campaign of faults knows every command."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cases():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import fault_cases
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return fault_cases


def test_every_command_is_disturbed_or_left_out_for_a_reason(cases, tmp_path):
    disturbed = set(cases.Cases(tmp_path).commands())
    assert not disturbed & set(cases.LEFT_OUT)
    assert sorted(disturbed | set(cases.LEFT_OUT)) == sorted(cases.all_commands())
