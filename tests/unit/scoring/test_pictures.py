"""Pictures of trainings and confusions show the numbers they are made of."""

import numpy as np

from coloured_blocks import make_data
from lexiseg.data.folder import FolderDataset
from lexiseg.scoring.confusion_plot import confusion_matrix, draw_confusion
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.training_plot import draw_training, series_of_log
from toy_segmenter import ColourSegmenter


def test_rows_of_a_confusion_matrix_are_shares_of_the_true_class(tmp_path):
    make_data(tmp_path, num=3)
    result = evaluate(ColourSegmenter(), FolderDataset(tmp_path), partial=True).results[0]
    matrix = confusion_matrix(result)
    assert matrix.shape == (len(result.names),) * 2
    present = np.asarray(result.scores.true_pixels) > 0
    np.testing.assert_allclose(np.diag(matrix)[present], np.asarray(result.scores.accuracy)[present])
    assert (matrix.sum(axis=1)[present] <= 1 + 1e-9).all()
    picture = np.asarray(draw_confusion(result))
    assert (picture == (0, 90, 160)).all(axis=2).any() == bool((np.diag(matrix) == 1).any())


def test_losses_and_evaluations_are_told_apart_and_drawn():
    lines = [
        {"step": 1, "loss": 3.0, "terms": {"a": 1.0, "b": 2.0}},
        {"step": 5, "loss": float("inf"), "terms": {"a": 0.5, "b": 1.0}},
        {"step": 5, "evaluation": {"mean_iou": 0.25, "images": 12.0}},
    ]
    losses, scores = series_of_log(lines)
    assert losses == {"loss": [(1, 3.0)], "a": [(1, 1.0), (5, 0.5)], "b": [(1, 2.0), (5, 1.0)]}
    assert scores == {"mean_iou": [(5, 0.25)]}
    both, alone = draw_training("run", losses, scores), draw_training("run", losses, {})
    assert both.height > alone.height
    assert len(set(map(tuple, np.asarray(both).reshape(-1, 3)))) > 5
    assert draw_training("run", {}, {}).width == both.width
