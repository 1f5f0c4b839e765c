"""Workers of one machine: whatever happens in one, each input ends with one outcome, and only what is at fault fails."""

import os
import time
from collections import Counter

import pytest

from bulk_toys import Scripted, Stillborn, results
from lexiseg.core.errors import InputError, OutputError
from lexiseg.data.images import ImageWarning
from lexiseg.runs.bulk.job import Workers, num_cores
from lexiseg.runs.bulk.run import do_job

TWO = Workers(count=2)


def outcomes(folder, texts, workers=TWO, **how):
    return list(do_job(Scripted(folder, **how), enumerate(texts), workers))


def test_both_work_and_every_input_has_one_outcome(tmp_path):
    found = outcomes(tmp_path, ["fine"] * 12)
    assert sorted(each.number for each in found) == list(range(12))
    assert {each.state for each in found} == {"done"}
    assert results(tmp_path) == {number: f"result {number}" for number in range(12)}
    assert len({each.content for each in found}) == 2
    assert os.getpid() not in {each.content for each in found}


def test_more_workers_than_inputs_and_no_input(tmp_path):
    assert [each.number for each in outcomes(tmp_path, ["fine"], Workers(count=5))] == [0]
    assert outcomes(tmp_path, []) == []


#: What happens at input 3 of 16, its state in the end, and the words of its message.
FAULTS = [
    ("once killed", "done", ""),
    ("killed", "failed", "ended 2 workers, the last one alone (SIGKILL; too little memory"),
    ("exits", "failed", "exit code 3"),
    ("hangs", "failed", "no end after 0.6 s"),
    ("hangs in C", "failed", "no end after 0.6 s"),
    ("once hangs", "done", ""),
]


@pytest.mark.parametrize(
    ("text", "state", "told"),
    [FAULTS[1], *(pytest.param(*fault, marks=pytest.mark.exhaustive) for fault in (FAULTS[0], *FAULTS[2:]))],
)
def test_what_kills_a_worker_costs_nothing_else(tmp_path, text, state, told):
    texts = ["fine"] * 3 + [text] + ["fine"] * 12
    found = outcomes(tmp_path, texts, seconds=0.6 if "hangs" in text else None)
    assert Counter(each.number for each in found) == dict.fromkeys(range(16), 1)
    by_number = {each.number: each for each in found}
    assert by_number[3].state == state
    assert told in by_number[3].message
    assert {each.state for each in found if each.number != 3} == {"done"}
    assert set(results(tmp_path)) == set(range(16)) - ({3} if state == "failed" else set())


@pytest.mark.exhaustive
def test_many_that_kill_are_each_isolated(tmp_path):
    texts = ["killed" if number % 4 == 1 else "fine" for number in range(10)]
    found = {each.number: each.state for each in outcomes(tmp_path, texts)}
    assert found == {number: "failed" if number % 4 == 1 else "done" for number in range(10)}


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [("wrong", InputError, "input 1: found nothing; expected something. Look."), ("bug", RuntimeError, "ZeroDivisionError: 1")],
)  # fmt: skip
def test_an_error_of_the_job_ends_it_as_it_is(tmp_path, text, kind, told):
    with pytest.raises(kind, match=told):
        outcomes(tmp_path, ["fine", text, *["fine"] * 4])


def test_a_full_disk_ends_the_job_with_what_to_do_and_the_next_one_goes_on(tmp_path):
    texts = ["fine", "once full", *["fine"] * 4]
    with pytest.raises(OutputError, match=r"No space left.*run the same command again"):
        outcomes(tmp_path, texts)
    outcomes(tmp_path, texts)
    assert set(results(tmp_path)) == set(range(6))
    assert not list(tmp_path.glob("large*"))


def test_warnings_of_workers_are_heard_here(tmp_path):
    with pytest.warns(ImageWarning, match="2 is odd") as caught:
        outcomes(tmp_path, ["fine", "fine", "warns"])
    assert [each.message.kind for each in caught if isinstance(each.message, ImageWarning)] == ["oddness"]


def test_an_input_that_cannot_be_left_out_ends_the_job(tmp_path):
    with pytest.raises(OutputError, match=r"acting: killed: found a worker that died 3 times at it"):
        outcomes(tmp_path, ["fine", "killed"], lists_failures=False)


def test_workers_that_never_begin_are_not_started_for_ever(tmp_path):
    with pytest.raises(OutputError, match="3 workers that died before their first input"):
        list(do_job(Stillborn(), enumerate("abc"), TWO))


def test_workers_end_when_nobody_wants_more(tmp_path):
    found = do_job(Scripted(tmp_path), enumerate(["fine"] * 50), TWO)
    pids = {next(found).content for _ in range(4)}
    found.close()
    end = time.monotonic() + 10
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < end:
        time.sleep(0.01)
    assert not alive
    assert len(results(tmp_path)) < 50


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_inputs_are_taken_as_they_are_needed(tmp_path):
    """A list of any length costs no memory, and a slow disk holds the source back."""
    taken = []

    def endless():
        number = 0
        while True:
            taken.append(number)
            yield number, "fine"
            number += 1

    found = do_job(Scripted(tmp_path), endless(), TWO)
    for _ in range(5):
        next(found)
    assert len(taken) <= 5 + 2 * (2 + 2)
    found.close()


def test_workers_share_the_cores():
    assert Workers(count=1).threads == num_cores()
    assert Workers(count=num_cores() * 3).threads == 1
    with pytest.raises(InputError, match="0 workers"):
        Workers(count=0)
