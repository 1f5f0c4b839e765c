import torch

from lexiseg.ops.similarity import similarity_map


def test_a_map_lays_patches_out_in_raster_order():
    tokens = torch.arange(6.0).reshape(1, 6, 1)
    maps = similarity_map(tokens, torch.tensor([[1.0], [-2.0]]), (2, 3))
    assert maps.tolist() == [[[[0, 1, 2], [3, 4, 5]], [[0, -2, -4], [-6, -8, -10]]]]


def test_a_part_of_the_vocabulary_scores_as_it_does_in_the_whole():
    torch.manual_seed(0)
    tokens, embeddings = torch.randn(2, 12, 5), torch.randn(7, 5)
    whole = similarity_map(tokens, embeddings, (3, 4))
    torch.testing.assert_close(similarity_map(tokens, embeddings[4:6], (3, 4)), whole[:, 4:6])
