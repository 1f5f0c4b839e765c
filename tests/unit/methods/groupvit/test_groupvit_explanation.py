import numpy as np
import pytest
from PIL import Image

from lexiseg.core.vocabulary import Vocabulary
from lexiseg.methods.groupvit.explanation import explain, save_explanation
from tiny_groupvit import WORDS, make_groupvit

NAMES = WORDS[1:7]


@pytest.fixture
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
    return np.kron(coarse, np.ones((10, 10, 1))).astype(np.uint8)


def test_every_window_has_all_its_segments_and_they_cover_it(image):
    model = make_groupvit().eval()
    windows = explain(model, image, NAMES)
    assert len(windows) == len(model.encode(image).windows)
    for window in windows:
        assert len(window.segments) == 3
        assert (
            np.stack([segment.mask for segment in window.segments]).sum(0).tolist()
            == np.ones(window.pixels.shape[:2]).tolist()
        )
        sizes = [segment.mask.sum() for segment in window.segments]
        assert sizes == sorted(sizes, reverse=True)
        assert len(window.kept) == 5
        for segment in window.segments:
            assert segment.label == segment.classes[0].name
            assert segment.classes[0].affinity == max(each.affinity for each in segment.classes)
            assert segment.label in window.kept


def test_names_are_those_of_the_label_map(image):
    model = make_groupvit(window=None, window_stride=None, tiles="off").eval()
    (window,) = explain(model, image, NAMES)
    labels = model.segment(image, NAMES).label_map
    shown = {segment.label for segment in window.segments if segment.mask.any()}
    assert {NAMES[label] for label in np.unique(labels)} <= shown


def test_segments_below_the_threshold_are_called_background_but_never_all_of_them(image):
    model = make_groupvit(threshold=1.0, background="threshold").eval()
    for window in explain(model, image, NAMES):
        called = [segment.label for segment in window.segments]
        assert called.count("background") == 2
    for window in explain(model, image, NAMES, background=False):
        assert all(segment.label in NAMES for segment in window.segments)


def test_the_page_names_every_segment_and_holds_its_images(image, tmp_path):
    model = make_groupvit(window=None, window_stride=None, tiles="off").eval()
    Image.fromarray(image).save(tmp_path / "a.png")
    model.write_explanation(tmp_path / "a.png", Vocabulary.parse(["cat <b>", *NAMES]), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert page.count("<figure>") == 3
    assert page.count("data:image/jpeg;base64,") == 3
    (window,) = explain(model, image, ["cat <b>", *NAMES])
    for segment in window.segments:
        assert f"{segment.classes[0].affinity:.3f}" in page
    assert "<b>cat <b>" not in page
    save_explanation((window,), tmp_path / "b.html", "<b>")
    assert "<title>&lt;b&gt;" in (tmp_path / "b.html").read_text()
