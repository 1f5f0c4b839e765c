import torch
from torch import nn

from lexiseg.layers.frozen_batch_norm import FrozenBatchNorm, freeze_batch_norms


def trained():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3), nn.ReLU()))
    for _ in range(20):
        network(torch.randn(8, 3, 5, 5) * 3 + 1)
    with torch.no_grad():
        network[1][0].weight.uniform_(0.5, 2)
        network[1][0].bias.normal_()
    return network


def test_it_says_what_batch_normalisation_says_in_evaluation_mode():
    network, images = trained(), torch.randn(2, 3, 5, 5)
    expected = network.eval()(images)
    freeze_batch_norms(network)
    assert isinstance(network[1][0], FrozenBatchNorm)
    torch.testing.assert_close(network(images), expected)


def test_training_changes_nothing_in_it():
    network = trained()
    freeze_batch_norms(network.train())
    before = {name: value.clone() for name, value in network[1].state_dict().items()}
    network(torch.randn(8, 3, 5, 5) + 9)
    assert not list(network[1].parameters())
    assert all(torch.equal(value, before[name]) for name, value in network[1].state_dict().items())
    assert set(before) == {"0.weight", "0.bias", "0.running_mean", "0.running_var"}
