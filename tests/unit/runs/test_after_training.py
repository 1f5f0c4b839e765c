"""The lines that end a training: its score, where the model is, what comes next."""

import json

import pytest

from lexiseg.runs.after_training import farewell, last_scores


def test_the_last_evaluation_counts(tmp_path):
    lines = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "evaluation": {"mean_iou": 0.1}},
        {"step": 4, "evaluation": {"mean_iou": 0.25, "unseen_mean_iou": 0.2}},
        {"step": 4, "loss": 1.0},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"cut')
    assert last_scores(tmp_path) == {"mean_iou": 0.25, "unseen_mean_iou": 0.2}


@pytest.mark.parametrize("content", [None, "", "not JSON\n"])
def test_a_log_without_scores_gives_none(tmp_path, content):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    assert last_scores(tmp_path) == {}


def test_a_scored_run_is_told_with_the_next_commands(tmp_path):
    said = farewell(tmp_path / "my run", scores={"mean_iou": 0.256}, words="cat, dog", data=tmp_path / "data")
    assert "validation: mean_iou 25.6 %" in said
    assert f"lexiseg segment photo.jpg --words 'cat, dog' --model '{tmp_path}/my run'" in said
    assert f"lexiseg evaluate '{tmp_path}/my run' --data {tmp_path}/data --split val" in said


def test_a_run_without_a_score_says_how_to_have_one(tmp_path):
    said = farewell(tmp_path, scores={}, words="cat")
    assert "val.txt" in said
    assert "evaluate" not in said
