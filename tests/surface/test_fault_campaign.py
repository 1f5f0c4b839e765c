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


def test_the_page_says_what_the_last_campaign_found(cases, tmp_path):
    found = json.loads((ROOT / "benchmarks/faults.json").read_text())
    page = (ROOT / "docs/robustness.md").read_text()
    assert {row["command"] for row in found["rows"]} == set(cases.Cases(tmp_path).commands())
    assert found["command"] in page
    for fault, total in found["totals"].items():
        if fault == "undisturbed":
            continue
        counts = (total["tried"], total["struck"], total["survived"], round(total["seconds"]))
        row = r"\| {} \|{}".format(fault, "".join(rf"\s*{count:,} \|" for count in counts))
        assert re.search(row, page), f"no line | {fault} | with {counts}"
