"""A linear probe: how well classes can be told apart by frozen vectors of pictures.

The recipe of SimSeg's Table 9, after "Masked Autoencoders" (CVPR 2022): one linear layer on standardised
features, LARS without weight decay, momentum 0.9, 10 of 90 epochs of warm-up, half a cosine.

Scaled: the published batch of 32,768 would be a single step here, so an epoch has at least eight. LARS moves
a matrix relative to its own size; the rate is set so that rate times steps, which is how far it can go, is
the published 12.8 (0.1 for every 256) times 3,516 steps. The bias, which LARS does not scale, keeps 0.1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import ParameterGroup
from lexiseg.engine.optim import build_optimizer, set_lr
from lexiseg.engine.schedule import lr_factor
from lexiseg.engine.settings import OptimSettings
from lexiseg.metrics.retrieval import top_k_accuracy

_BIAS_RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How a probe is trained.

    Attributes:
        num_epochs: Passes over the pictures.
        warmup_epochs: Of which the rate rises.
        distance: Highest rate times number of steps.
        largest_batch: Pictures a step at most.
        least_steps: Steps of an epoch at least, where there are as many pictures.
        seed: Of the order of pictures.
    """

    num_epochs: int = 90
    warmup_epochs: int = 10
    distance: float = 12.8 * 3516
    largest_batch: int = 32_768
    least_steps: int = 8
    seed: int = 0


def linear_probe(
    features: Float[Tensor, "V N D"],
    labels: Int64[Tensor, " N"],
    test_features: Float[Tensor, "T D"],
    test_labels: Int64[Tensor, " T"],
    *,
    num_classes: int,
    settings: ProbeSettings | None = None,
) -> dict[int, float]:
    """Train a linear layer on frozen features and give its top-1 and top-5 accuracy.

    Args:
        features: Of ``V`` views (random crops, say) of each of ``N`` pictures; an epoch takes one view of each.
        labels: Class of each picture.
        test_features: Of other pictures, whole.
        test_labels: Their classes.
        num_classes: Labels are below it.
        settings: None for the published ones.

    Raises:
        InputError: There are no pictures, or a label is no class.
    """
    settings = settings or ProbeSettings()
    if not len(labels) or int(labels.max()) >= num_classes or int(labels.min()) < 0:
        raise InputError(
            doing="training a linear probe",
            found=f"{len(labels)} pictures with labels up to {int(labels.max()) if len(labels) else None}",
            expected=f"one picture or more, with labels from 0 to {num_classes - 1}",
            fix="Check the folders of classes.",
        )
    mean, std = features.mean((0, 1)), features.std((0, 1)).clamp(min=1e-6)
    views, tested = (features - mean) / std, (test_features - mean) / std
    layer = nn.Linear(views.shape[2], num_classes)
    nn.init.normal_(layer.weight, std=0.01, generator=torch.Generator().manual_seed(settings.seed))
    nn.init.zeros_(layer.bias)
    batch = min(settings.largest_batch, -(-len(labels) // settings.least_steps))
    per_epoch = -(-len(labels) // batch)
    num_steps = settings.num_epochs * per_epoch
    optim = OptimSettings(
        optimizer="lars",
        lr=settings.distance / num_steps,
        momentum=0.9,
        warmup_fraction=min(1.0, settings.warmup_epochs / settings.num_epochs),
    )
    groups = [
        ParameterGroup(
            parameters=[(name, value)], lr_factor=1.0 if name == "weight" else _BIAS_RATE / optim.lr
        )
        for name, value in layer.named_parameters()
    ]
    optimizer = build_optimizer(groups, optim)
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.enable_grad():
        for step in range(num_steps):
            if step % per_epoch == 0:
                order = torch.randperm(len(labels), generator=generator)
            rows = order[step % per_epoch * batch :][:batch]
            view = torch.randint(len(views), (len(rows),), generator=generator)
            set_lr(optimizer, optim.lr * lr_factor(optim, step, num_steps))
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(layer(views[view, rows]), labels[rows]))
            optimizer.step()
    scores = layer(tested).detach().numpy()
    return top_k_accuracy(scores, test_labels.numpy(), (1, min(5, num_classes)))
