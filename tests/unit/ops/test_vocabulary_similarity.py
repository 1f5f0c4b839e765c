import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.core.errors import InputError
from lexiseg.ops.vocabulary_similarity import summarise_similarities, vocabulary_similarity


def embeddings(seed, num):
    return torch.randn(num, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hand_check_of_two_by_three_classes():
    found = summarise_similarities(torch.tensor([[1.0, 0.4, 0.3], [0.5, 0.8, 0.6]]))
    assert (found.directed, found.reverse, found.symmetric) == pytest.approx((0.8, 0.6, 0.6))
    assert found.mean == pytest.approx(0.9)
    assert found.nearest.tolist() == [0, 1]
    assert found.nearest_similarity.tolist() == pytest.approx([1.0, 0.8])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 8))
def test_a_subset_is_fully_covered_and_coverage_moves_as_the_vocabularies_grow(seed, num, more):
    evaluated, training = embeddings(seed, num), embeddings(seed + 1, more)
    both = torch.cat([training, evaluated])
    assert vocabulary_similarity(evaluated, both).directed == pytest.approx(1)
    plain = vocabulary_similarity(evaluated, training)
    wider = vocabulary_similarity(evaluated, torch.cat([training, embeddings(seed + 2, 3)]))
    assert wider.directed >= plain.directed - 1e-9
    harder = vocabulary_similarity(torch.cat([evaluated, embeddings(seed + 3, 3)]), training)
    assert harder.directed <= plain.directed + 1e-9
    assert vocabulary_similarity(training, evaluated).directed == pytest.approx(plain.reverse)


def test_length_of_an_embedding_does_not_matter():
    evaluated, training = embeddings(0, 4), embeddings(1, 5)
    plain, scaled = (vocabulary_similarity(factor * evaluated, training) for factor in (1, 9))
    assert plain.directed == pytest.approx(scaled.directed)


def test_an_empty_vocabulary_is_refused():
    with pytest.raises(InputError, match=r"found 2 evaluated and 0 training classes"):
        vocabulary_similarity(embeddings(0, 2), embeddings(0, 0))
