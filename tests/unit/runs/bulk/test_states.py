"""What became of every input: the last line counts, half a line is nothing, and the file does not grow for ever."""

import os
import shutil

import pytest

from lexiseg.core.errors import DatasetError, OutputError
from lexiseg.runs.bulk import states as module
from lexiseg.runs.bulk.job import Outcome
from lexiseg.runs.bulk.states import STATES_FILE, Failure, noting, read_states

NAMES = ["a", "deep/b\twith a tab", "c\nand a line", os.fsdecode(b"caf\xe9")]


def outcome(number: int, state: str) -> Outcome:
    return Outcome(number=number, state=state, message="odd\nvery" if state == "failed" else "")


def run(folder, *states: tuple[str, str], total: int = 4, **how) -> None:
    with noting(folder, command="segment", total=total, workers=2, **how) as log:
        for number, (name, state) in enumerate(states):
            log.note(outcome(number, state), name, f"{name}.jpg")


def test_the_last_outcome_of_an_input_counts(tmp_path):
    run(tmp_path, (NAMES[0], "done"), (NAMES[1], "failed"), (NAMES[2], "failed"))
    found = read_states(tmp_path)
    assert (found.done, found.left, found.has_ended, found.is_running) == (1, 1, True, False)
    assert set(found.failures) == {Failure(name, f"{name}.jpg", "odd\nvery") for name in NAMES[1:3]}
    run(tmp_path, (NAMES[0], "there"), (NAMES[1], "done"), (NAMES[2], "failed"), (NAMES[3], "failed"))
    found = read_states(tmp_path)
    assert (found.done, found.left, found.total) == (2, 0, 4)
    assert {failure.name for failure in found.failures} == set(NAMES[2:])
    assert found.counts == {"done": 1, "there": 1, "failed": 2}
    run(tmp_path, (NAMES[3], "done"), total=99, retries=True)
    found = read_states(tmp_path)
    assert (found.done, found.workers) == (3, 2)
    assert [failure.name for failure in found.failures] == [NAMES[2]]


def test_a_retry_does_not_change_how_many_inputs_there_are(tmp_path):
    run(tmp_path, ("a", "failed"), total=7)
    run(tmp_path, ("a", "done"), total=1, retries=True)
    assert read_states(tmp_path).total == 7


def test_there_are_no_fewer_inputs_than_outcomes(tmp_path):
    run(tmp_path, ("a", "done"), ("b", "failed"), ("c", "done"), total=3)
    run(tmp_path, ("a", "done"), total=1)  # of one of them, with --overwrite
    found = read_states(tmp_path)
    assert (found.total, found.done, found.left) == (3, 2, 0)


def test_a_run_at_work_is_seen_and_a_killed_one_leaves_half_a_line(tmp_path):
    with noting(tmp_path, command="segment", total=2, workers=1) as log:
        log.note(outcome(0, "done"), "a", "a.jpg")
        found = read_states(tmp_path)
        assert (found.is_running, found.has_ended, found.left) == (True, False, 1)
    with (tmp_path / STATES_FILE).open("ab") as file:
        file.write(b'# {"begun": 12')
    assert read_states(tmp_path).done == 1
    run(tmp_path, ("b", "done"), total=2)
    assert read_states(tmp_path).done == 2


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_vanishes_ends_the_run(tmp_path, replaced):
    folder = tmp_path / "out"
    folder.mkdir()
    log = noting(folder, command="segment", total=2, workers=1)
    states = log.__enter__()
    states.note(outcome(0, "done"), "a", "a.jpg")
    shutil.rmtree(folder)
    if replaced:
        folder.mkdir()
        run(folder, ("other", "done"))
    with pytest.raises(OutputError, match="removed, or replaced by another"):
        states.note(outcome(1, "done"), "b", "b.jpg")


def test_outdated_lines_are_dropped_when_a_run_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WORTH_COMPACTING", 8)
    for _ in range(5):
        run(tmp_path, ("a", "done"), ("b", "failed"), ("c", "there"))
    lines = (tmp_path / STATES_FILE).read_text().splitlines()
    assert len(lines) < 5 * 5
    run(tmp_path)
    found = read_states(tmp_path)
    assert (found.done, found.total, [failure.name for failure in found.failures]) == (2, 4, ["b"])


def test_two_runs_write_one_file(tmp_path):
    with (
        noting(tmp_path, command="segment", total=2, workers=1) as one,
        noting(tmp_path, command="segment", total=2, workers=1) as other,
    ):
        one.note(outcome(0, "done"), "a", "a.jpg")
        other.note(outcome(1, "failed"), "b", "b.jpg")
    assert read_states(tmp_path).done == 1


def test_no_job_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"no \.lexiseg-states there"):
        read_states(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        read_states(tmp_path / "absent")
