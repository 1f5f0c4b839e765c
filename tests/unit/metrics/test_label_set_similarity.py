import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexiseg.core.errors import InputError
from lexiseg.metrics.label_set_similarity import compare_similarities, label_set_similarity


def test_hand_check_of_all_forms():
    found = compare_similarities(np.array([[1.0, 0.4, 0.3], [0.5, 0.8, 0.6]]))
    assert (found.directed, found.reverse, found.symmetric) == (0.8, 0.6, 0.6)
    assert found.mean == pytest.approx(0.9)
    assert found.reverse_mean == pytest.approx(0.8)
    assert (found.worst, found.nearest) == (1, 1)


def test_length_of_embeddings_does_not_matter_and_a_subset_is_fully_covered():
    training = np.random.default_rng(0).normal(size=(7, 5))
    found = label_set_similarity(3 * training[2:4], training)
    assert found.directed == pytest.approx(1)
    assert found.reverse < 1


@given(st.integers(0, 10_000))
def test_more_training_names_cover_better_and_more_evaluation_names_worse(seed):
    generator = np.random.default_rng(seed)
    evaluation, training = generator.normal(size=(6, 4)), generator.normal(size=(8, 4))
    directed = label_set_similarity(evaluation, training).directed
    assert label_set_similarity(evaluation, training[:5]).directed <= directed + 1e-12
    assert label_set_similarity(evaluation[:4], training).directed >= directed - 1e-12


def test_a_name_without_direction_is_refused():
    with pytest.raises(InputError, match="2 training names, 1 of them without direction"):
        label_set_similarity(np.ones((1, 3)), np.array([[1.0, 0, 0], [0, 0, 0]]))
