import math

import pytest
import torch

from lexiseg.layers.mask_decoder import MaskDecoder, sine_positions


def tiny(**changes):
    torch.manual_seed(0)
    sizes = {"num_queries": 5, "width": 16, "num_layers": 3, "num_heads": 4, "feedforward": 24}
    return MaskDecoder(10, **{**sizes, **changes})


def test_every_layer_answers_with_its_own_normalised_proposals():
    proposals = tiny().eval()(torch.randn(2, 10, 4, 6))
    assert proposals.shape == (3, 2, 5, 16)
    torch.testing.assert_close(proposals.mean(dim=-1), torch.zeros(3, 2, 5), atol=1e-5, rtol=0)
    assert (proposals[0] - proposals[2]).abs().max() > 0.1


def test_proposals_differ_by_their_queries_alone():
    decoder = tiny().eval()
    maps = torch.randn(1, 10, 4, 4)
    before = decoder(maps)
    with torch.no_grad():
        decoder.queries.weight.copy_(decoder.queries.weight.flip(0))
    torch.testing.assert_close(decoder(maps), before.flip(2))


def test_a_learned_start_is_where_proposals_begin_and_zero_is_the_default():
    torch.manual_seed(0)
    decoder, plain, maps = tiny(learned_start=True).eval(), tiny().eval(), torch.randn(1, 10, 4, 4)
    assert plain.state_dict().keys() == decoder.state_dict().keys() - {"start.weight"}
    plain.load_state_dict({name: v for name, v in decoder.state_dict().items() if name != "start.weight"})
    begun = []
    decoder.layers[0].register_forward_pre_hook(lambda _, given: begun.append(given[0]))
    assert (decoder(maps) - plain(maps)).abs().max() > 0.1
    assert torch.equal(begun[0][0], decoder.start.weight)
    with torch.no_grad():
        decoder.start.weight.zero_()
    assert torch.equal(decoder(maps), plain(maps))


def test_where_a_feature_is_matters():
    decoder = tiny().eval()
    maps = torch.randn(1, 10, 4, 4)
    assert (decoder(maps) - decoder(maps.flip(3))).abs().max() > 1e-3


def test_images_do_not_mix():
    decoder, maps = tiny().eval(), torch.randn(3, 10, 4, 4)
    torch.testing.assert_close(decoder(maps)[:, 1:2], decoder(maps[1:2]))


def test_dropout_acts_in_training_only():
    decoder, maps = tiny(dropout_rate=0.5), torch.randn(1, 10, 4, 4)
    assert not torch.equal(decoder(maps), decoder(maps))
    decoder.eval()
    assert torch.equal(decoder(maps), decoder(maps))


def test_a_map_as_wide_as_the_decoder_is_not_projected():
    assert not list(MaskDecoder(16, num_queries=2, width=16, num_heads=4).project.parameters())


@pytest.mark.parametrize("size", [(3, 5), (4, 4)])
def test_positions_are_sines_of_the_row_then_of_the_column(size):
    positions = sine_positions(torch.zeros(1, 16, *size))
    assert positions.shape == (16, *size)
    for row in range(size[0]):
        for column in range(size[1]):
            for half, (place, length) in enumerate(((row, size[0]), (column, size[1]))):
                for pair in range(4):
                    angle = (place + 1) / length * 2 * math.pi / 10_000 ** (2 * pair / 8)
                    sine, cosine = positions[8 * half + 2 * pair : 8 * half + 2 * pair + 2, row, column]
                    assert sine.item() == pytest.approx(math.sin(angle), abs=1e-5)
                    assert cosine.item() == pytest.approx(math.cos(angle), abs=1e-5)
