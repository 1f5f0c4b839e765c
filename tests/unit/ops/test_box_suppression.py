import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lexiseg.ops.box_suppression import suppress_boxes


def iou(a, b) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def plainly(boxes, scores, max_iou):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[index], boxes[other]) <= max_iou for other in kept):
            kept.append(index)
    return kept


def test_the_better_of_two_overlapping_boxes_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]], np.int32)
    assert suppress_boxes(boxes, np.array([0.5, 0.9, 0.1], np.float32), max_iou=0.7).tolist() == [1, 2]
    assert suppress_boxes(boxes, np.array([0.5, 0.5, 0.1], np.float32), max_iou=0.7).tolist() == [0, 2]


def test_an_overlap_of_exactly_the_limit_stays():
    boxes = np.array([[0, 0, 10, 1], [0, 0, 7, 1]], np.int32)
    scores = np.array([0.9, 0.8], np.float32)
    assert suppress_boxes(boxes, scores, max_iou=0.7).tolist() == [0, 1]
    assert suppress_boxes(boxes, scores, max_iou=0.69).tolist() == [0]


def test_no_boxes_are_fine():
    assert suppress_boxes(np.zeros((0, 4), np.int32), np.zeros(0, np.float32), max_iou=0.7).tolist() == []


@given(
    st.lists(
        st.tuples(*(st.integers(0, 20),) * 2, *(st.integers(1, 20),) * 2, st.sampled_from([0.2, 0.4, 0.8])),
        max_size=12,
    ),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
def test_it_is_the_plain_definition(rows, max_iou):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], np.int32).reshape(-1, 4)
    scores = np.array([row[4] for row in rows], np.float32)
    assert suppress_boxes(boxes, scores, max_iou=max_iou).tolist() == plainly(boxes, scores, max_iou)
