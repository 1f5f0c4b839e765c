import torch

from lexiseg.layers.pixel_decoder import PixelDecoder


def maps_of(channels, sizes, num=2):
    return [torch.randn(num, width, *size) for width, size in zip(channels, sizes, strict=True)]


def test_embeddings_have_the_size_of_the_finest_map_also_where_sizes_do_not_halve():
    decoder = PixelDecoder([4, 6, 8], width=16, norm_groups=4)
    for sizes in ([(16, 16), (8, 8), (4, 4)], [(13, 18), (7, 9), (4, 5)]):
        assert decoder(maps_of([4, 6, 8], sizes)).shape == (2, 16, *sizes[0])


def test_every_level_reaches_the_embeddings():
    decoder = PixelDecoder([4, 6, 8], width=16, norm_groups=4)
    maps = maps_of([4, 6, 8], [(16, 16), (8, 8), (4, 4)])
    for level in maps:
        level.requires_grad_()
    decoder(maps).square().sum().backward()
    assert all(level.grad.abs().max() > 0 for level in maps)


def test_embeddings_are_neither_normalised_nor_activated():
    torch.manual_seed(0)
    embeddings = PixelDecoder([4, 8], width=16, norm_groups=4)(maps_of([4, 8], [(8, 8), (4, 4)]))
    assert (embeddings < 0).any()
    assert embeddings.norm(dim=1).std() > 0.01


def test_a_single_map_will_do():
    assert PixelDecoder([8], width=16, norm_groups=4)(maps_of([8], [(4, 4)])).shape == (2, 16, 4, 4)
