"""The log is cut to the checkpoint that a run goes on from."""

import importlib.util

import pytest

from lexiseg.engine.log import RunLog, read_log


@pytest.mark.parametrize("left", ['{"step": 5, "lo', '{"step": 5}\n{"step": 6}\n', ""])
def test_lines_after_the_checkpoint_and_unfinished_lines_go(tmp_path, left):
    (tmp_path / "log.jsonl").write_text('{"step": 2}\n{"step": 4}\n' + left)
    log = RunLog(tmp_path, after_step=4)
    log.evaluation(6, {"score": 0.5})
    log.close()
    assert read_log(tmp_path) == [{"step": 2}, {"step": 4}, {"step": 6, "evaluation": {"score": 0.5}}]


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, after_step=0)
    log.evaluation(6, {"score": 0.5})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("evaluation/score")] == [(6, 0.5)]
