import pytest
import torch

from lexiseg.layers.class_decoder import ClassDecoder


@pytest.fixture
def decoder() -> ClassDecoder:
    torch.manual_seed(0)
    return ClassDecoder(6, width=16, num_heads=2, num_layers=1).eval()


def test_classes_and_image_vectors_have_no_order(decoder):
    prototypes, vectors = torch.randn(4, 6), torch.randn(3, 6)
    embeddings = decoder(prototypes, vectors)
    assert embeddings.shape == (4, 6)
    torch.testing.assert_close(decoder(prototypes.flip(0), vectors.flip(0)), embeddings.flip(0))


def test_embeddings_depend_on_the_images(decoder):
    prototypes = torch.randn(4, 6)
    assert not torch.allclose(decoder(prototypes, torch.randn(3, 6)), decoder(prototypes, torch.randn(3, 6)))


def test_any_number_of_dimensions_will_do():
    assert ClassDecoder(1010, width=16, num_heads=4, num_layers=2)(
        torch.randn(1, 1010), torch.randn(1, 1010)
    ).shape == (1, 1010)
