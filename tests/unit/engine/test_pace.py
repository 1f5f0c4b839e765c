"""A run says what a step takes here, and one of days is refused before it is begun."""

import pytest

from lexiseg.core.errors import InputError
from lexiseg.engine import pace
from lexiseg.engine.pace import TIMED_STEPS, Pace, duration


def run(monkeypatch, seconds, *, num_steps=1000, start=0, **how):
    now = iter([seconds * step for step in range(num_steps)])
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(now))
    told = Pace(start, num_steps, **{"most_hours": 24.0, "quiet": False, **how})
    for step in range(start + 1, start + 3 + TIMED_STEPS):
        told(step)


def test_a_step_of_a_second_is_said_with_what_the_rest_takes(monkeypatch, capsys):
    run(monkeypatch, 1.0)
    said = capsys.readouterr().err
    assert said.startswith("A step takes 1 s here, so 996 more take about 17 min"), said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("seconds", "how"), [(0.001, {}), (1.0, {"quiet": True})], ids=["short", "quiet"])
def test_nothing_is_said(monkeypatch, capsys, seconds, how):
    run(monkeypatch, seconds, **how)
    assert capsys.readouterr().err == ""


def test_a_run_of_days_is_refused_after_a_few_steps_unless_asked_for(monkeypatch):
    with pytest.raises(InputError, match=r"996 more take about 4\.6 days.*24 hours or less.*--long"):
        run(monkeypatch, 400.0, quiet=True)
    run(monkeypatch, 400.0, most_hours=None)


def test_what_is_done_already_does_not_count(monkeypatch, capsys):
    run(monkeypatch, 100.0, start=990)
    assert "6 more take about 10 min" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "0.012 s"),
        (9.4, "9.4 s"),
        (59.0, "59 s"),
        (180.0, "3 min"),
        (9000.0, "2.5 h"),
        (4e5, "4.6 days"),
    ],
)
def test_times_are_written_as_a_person_would(seconds, text):
    assert duration(seconds) == text
