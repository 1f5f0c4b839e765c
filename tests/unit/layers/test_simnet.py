import torch
import torch.nn.functional as F
from einops import rearrange, repeat

from lexiseg.layers.simnet import SimNet, as_teacher


def test_it_has_the_published_number_of_parameters():
    # T14 of SimFormer's notes
    assert sum(parameter.numel() for parameter in SimNet().parameters()) == 595_202


def test_pairs_are_what_the_blocks_make_of_the_concatenation():
    torch.manual_seed(0)
    simnet = SimNet(6).train()
    first, second = torch.randn(2, 5, 6), torch.randn(2, 4, 6)
    both = torch.cat(
        [repeat(first, "p i d -> p i j d", j=4), repeat(second, "p j d -> p i j d", i=5)], dim=-1
    )
    maps = rearrange(both, "p i j d -> (p i j) d")
    for block in simnet.blocks:
        skip = F.relu(block.skip(maps)) if hasattr(block, "skip") else maps
        mixed = F.relu(F.batch_norm(block.widen(maps), None, None, training=True))
        maps = skip + F.relu(F.batch_norm(block.mix(mixed), None, None, training=True))
    expected = simnet.head(maps).softmax(dim=-1)[:, 1]
    torch.testing.assert_close(simnet(first, second).sigmoid().flatten(), expected, atol=1e-5, rtol=1e-5)


def test_it_is_not_symmetric():
    torch.manual_seed(0)
    simnet = SimNet(6).eval()
    first, second = torch.randn(1, 3, 6), torch.randn(1, 3, 6)
    assert not torch.allclose(simnet(first, second), simnet(second, first).mT)


def test_a_teacher_has_no_gradient_and_learns_nothing_from_what_it_is_asked():
    simnet = SimNet(6).train()
    before = {name: value.clone() for name, value in simnet.state_dict().items()}
    points = torch.randn(1, 3, 6, requires_grad=True)
    with as_teacher(simnet) as teacher:
        answer = teacher(points, points)
    assert not answer.requires_grad
    assert simnet.training
    assert all(torch.equal(before[name], value) for name, value in simnet.state_dict().items())
