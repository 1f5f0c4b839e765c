import numpy as np
import pytest

from lexiseg.core.errors import InputError
from lexiseg.runs.load import MODELS
from lexiseg.runs.pair_encoder import LoadedPairEncoder
from toy_segmenter import registered


@pytest.fixture(scope="module")
def mini():
    return LoadedPairEncoder("mini")


def test_mini_puts_images_among_sentences(mini):
    data = pytest.importorskip("skimage.data")
    images = mini.embed_images([data.chelsea(), data.coffee(), data.rocket()])
    texts = mini.embed_texts([f"a photo of a {word}" for word in ("cat", "cup", "rocket")])
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    assert (images @ texts.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_no_image_gives_no_row_of_the_same_length(mini):
    assert mini.embed_images([]).shape == (0, mini.embed_texts(["cat"]).shape[1])


def test_the_fingerprint_is_of_weights_and_settings(mini, monkeypatch):
    assert LoadedPairEncoder("mini").fingerprint == mini.fingerprint
    monkeypatch.setattr("lexiseg.methods.conse.segmenter._WHOLE_SIDE", 256)
    assert LoadedPairEncoder("mini").fingerprint != mini.fingerprint


def test_a_model_without_such_a_space_is_refused(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())
    with pytest.raises(InputError, match="without one space for whole images and sentences"):
        LoadedPairEncoder("colours")
