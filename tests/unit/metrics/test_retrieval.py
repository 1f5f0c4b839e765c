import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from lexiseg.core.errors import InputError
from lexiseg.metrics.retrieval import retrieval_recall, top_k_accuracy


def test_recall_by_hand_with_two_captions_an_image():
    similarity = np.array([[0.9, 0.1, 0.8, 0.2], [0.3, 0.4, 0.7, 0.6]])
    found = retrieval_recall(similarity, np.array([0, 0, 1, 1]), ks=(1, 2))
    assert found.image_to_text == {1: 1.0, 2: 1.0}
    assert found.text_to_image == {1: 0.5, 2: 1.0}  # the second and third captions are nearer the other image


def test_a_model_that_says_the_same_of_everything_recalls_nothing():
    found = retrieval_recall(np.zeros((20, 20)), np.arange(20), ks=(1, 5))
    assert found.image_to_text == {1: 0.0, 5: 0.0}
    assert found.text_to_image == {1: 0.0, 5: 0.0}


def test_images_without_captions_are_refused():
    with pytest.raises(InputError, match="2 images, 1 of them with captions"):
        retrieval_recall(np.zeros((2, 1)), np.array([0]))


def test_top_k_accuracy_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    scores, labels = generator.random((200, 12)), generator.integers(0, 12, 200)
    found = top_k_accuracy(scores, labels)
    for k in (1, 5):
        assert found[k] == pytest.approx(top_k_accuracy_score(labels, scores, k=k, labels=np.arange(12)))


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(InputError, match="1 labels from 3 to 3; expected one label or more, from 0 to 2"):
        top_k_accuracy(np.zeros((1, 3)), np.array([3]))
