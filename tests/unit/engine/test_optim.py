"""Parameter groups become optimisers; LARS computes what its paper says."""

import pytest
import torch
from torch import nn

from lexiseg.core.interfaces import ParameterGroup
from lexiseg.engine.optim import build_optimizer, named_parameters, set_lr
from lexiseg.engine.settings import OptimSettings


def parameter(*values: float, shape: tuple[int, ...] = (-1,)) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values).reshape(shape))


def one_step(settings: OptimSettings, group: ParameterGroup, *gradients: torch.Tensor) -> None:
    optimizer = build_optimizer([group], settings)
    for gradient in gradients:
        for _, p in group.parameters:
            p.grad = gradient.clone().reshape(p.shape)
        optimizer.step()


def test_groups_keep_their_rate_factor_and_whether_they_decay():
    decayed, free = parameter(1.0), parameter(1.0)
    groups = [
        ParameterGroup(parameters=[("a", decayed)], lr_factor=0.1),
        ParameterGroup(parameters=[("b", free)], decayed=False),
        ParameterGroup(parameters=[]),
    ]
    optimizer = build_optimizer(groups, OptimSettings(weight_decay=0.2))
    set_lr(optimizer, 1e-3)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 1e-3]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]
    assert [name for name, _ in named_parameters(optimizer)] == ["a", "b"]


def test_a_parameter_in_two_groups_is_refused():
    p = parameter(1.0)
    with pytest.raises(AssertionError, match=r"two groups: \['a'\]"):
        build_optimizer(
            [ParameterGroup(parameters=[("a", p)]), ParameterGroup(parameters=[("a", p)])], OptimSettings()
        )


def test_adamw_decays_the_weight_and_not_the_gradient():
    weight = parameter(2.0)
    settings = OptimSettings(lr=0.1, weight_decay=0.5, eps=1e-12)
    one_step(settings, ParameterGroup(parameters=[("w", weight)]), torch.tensor([3.0]))
    assert weight.item() == pytest.approx(2.0 * (1 - 0.05) - 0.1)


def test_lars_scales_a_matrix_by_trust_and_norms():
    weight = parameter(3.0, 4.0, shape=(1, 2))  # norm 5
    settings = OptimSettings(optimizer="lars", lr=0.1, momentum=0.9)
    one_step(settings, ParameterGroup(parameters=[("w", weight)]), torch.tensor([0.0, 2.0]))
    # 0.001 * 5 / 2 of the gradient, times the rate
    assert weight.tolist()[0] == pytest.approx([3.0, 4.0 - 0.1 * 0.0025 * 2.0])


def test_lars_keeps_momentum_and_decays_before_scaling():
    weight = parameter(3.0, 4.0, shape=(1, 2))
    settings = OptimSettings(optimizer="lars", lr=1.0, momentum=0.5, weight_decay=0.1)
    one_step(settings, ParameterGroup(parameters=[("w", weight)]), torch.zeros(2), torch.zeros(2))
    # With no gradient the update is 0.1 w, scaled to 0.001 |w| = 0.001 w; the second adds half of the first.
    w = 3.0
    first = 0.001 * w
    second = 0.5 * first + 0.001 * (w - first)
    assert weight[0, 0].item() == pytest.approx(w - first - second, rel=1e-6)


def test_lars_leaves_vectors_and_zero_matrices_unscaled():
    bias, zero = parameter(3.0, 4.0), parameter(0.0, 0.0, shape=(2, 1))
    settings = OptimSettings(optimizer="lars", lr=0.1, weight_decay=0.1)
    one_step(settings, ParameterGroup(parameters=[("b", bias), ("z", zero)]), torch.tensor([1.0, -1.0]))
    assert bias.tolist() == pytest.approx([2.9, 4.1])
    assert zero.flatten().tolist() == pytest.approx([-0.1, 0.1])
