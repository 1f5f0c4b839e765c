"""The campaign of faults knows every command, and the page says what it found."""

import json
import re
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


def test_the_page_says_what_the_campaigns_found(cases, tmp_path):
    found = json.loads((ROOT / "benchmarks/faults.json").read_text())
    page = (ROOT / "docs/robustness.md").read_text()
    tried = {row["command"] for run in found["runs"] for row in run["rows"]}
    assert tried == set(cases.Cases(tmp_path).commands())
    assert all(run["command"] in page for run in found["runs"])
    for fault, total in found["totals"].items():
        counts = (total["tried"], total["struck"], total["survived"], round(total["seconds"]))
        row = r"\| {} \|{}".format(fault, "".join(rf"\s*{count:,} \|" for count in counts))
        assert fault == "undisturbed" or re.search(row, page), f"no line | {fault} | with {counts}"
