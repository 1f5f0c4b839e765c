import math

import torch

from lexiseg.ops.similarity import cosine, similarity_map


def test_cosine_by_hand():
    left = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    right = torch.tensor([[1.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    expected = torch.tensor([[0.6, 0.8, 7 / 5 / math.sqrt(2)], [0.0, -1.0, -1 / math.sqrt(2)]])
    torch.testing.assert_close(cosine(left, right), expected)
    torch.testing.assert_close(cosine(left[None], right), expected[None])


def test_a_zero_row_is_similar_to_nothing():
    assert torch.equal(cosine(torch.zeros(1, 3), torch.ones(2, 3)), torch.zeros(1, 2))


def test_a_map_lays_patches_out_in_raster_order():
    tokens = torch.arange(6.0).reshape(1, 6, 1)
    maps = similarity_map(tokens, torch.tensor([[1.0], [-2.0]]), (2, 3))
    assert maps.tolist() == [[[[0, 1, 2], [3, 4, 5]], [[0, -2, -4], [-6, -8, -10]]]]


def test_a_part_of_the_vocabulary_scores_as_it_does_in_the_whole():
    torch.manual_seed(0)
    tokens, embeddings = torch.randn(2, 12, 5), torch.randn(7, 5)
    whole = similarity_map(tokens, embeddings, (3, 4))
    torch.testing.assert_close(similarity_map(tokens, embeddings[4:6], (3, 4)), whole[:, 4:6])
