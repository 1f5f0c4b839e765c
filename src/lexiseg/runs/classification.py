"""Classify whole images: zero-shot by names, and by a linear probe on frozen features.

The probe is the recipe of SimSeg's Table 9, after "Masked Autoencoders" (CVPR 2022): one linear layer on standardised
features, LARS without weight decay, momentum 0.9, 10 of 90 epochs of warm-up, half a cosine.

Scaled: the published batch of 32,768 would be a single step here, so an epoch has at least eight. LARS moves
a matrix relative to its own size; the rate is set so that rate times steps, which is how far it can go, is
the published 12.8 (0.1 for every 256) times 3,516 steps. The bias, which LARS does not scale, keeps 0.1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.interfaces import ImageTextModel, ParameterGroup
from lexiseg.data.augmentation.random_crop import RandomCropSettings, draw_crop, resize_crop
from lexiseg.data.augmentation.seeding import sample_rng
from lexiseg.data.folder_lists import read_class_folders
from lexiseg.data.image_files import PassedOver
from lexiseg.data.images import load_image
from lexiseg.engine.optim import build_optimizer, lr_factor, set_lr
from lexiseg.engine.settings import OptimSettings
from lexiseg.inference.segmenter import Segmenter
from lexiseg.metrics.retrieval import top_k_accuracy
from lexiseg.scoring.image_text import as_image_text_model, embed_images

_BIAS_RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How a probe is trained.

    Attributes:
        num_epochs: Number of passes over the images.
        warmup_epochs: Number of first epochs in which the learning rate rises.
        total_lr_steps: Peak learning rate times number of steps: fewer steps get a higher rate.
        largest_batch: Largest batch size in images.
        least_steps: Smallest number of steps per epoch, where there are as many images.
        seed: Seed of weights and order of images, 0 or more.
    """

    num_epochs: int = 90
    warmup_epochs: int = 10
    total_lr_steps: float = 12.8 * 3516
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
    """Train a linear layer on frozen features and return its top-1 and top-5 accuracy.

    Args:
        features: Features of ``V`` views (random crops, say) of each of ``N`` images; an epoch takes one view of each.
        labels: Class of each image.
        test_features: Features of other images, whole.
        test_labels: Their classes.
        num_classes: Labels are below it.
        settings: None for the published ones.

    Raises:
        InputError: There are no images, or a label is no class.
    """
    settings = settings or ProbeSettings()
    if not len(labels) or int(labels.max()) >= num_classes or int(labels.min()) < 0:
        raise InputError(
            doing="training a linear probe",
            found=f"{len(labels)} images with labels up to {int(labels.max()) if len(labels) else None}",
            expected=f"one image or more, with labels from 0 to {num_classes - 1}",
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
        lr=settings.total_lr_steps / num_steps,
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


def classify_folders(
    segmenter: Segmenter,
    images: Path,
    *,
    train: Path | None = None,
    prompts: str | None = None,
    views: int = 4,
    probe: ProbeSettings | None = None,
    notes: list[str] | None = None,
) -> dict[str, dict[int, float]]:
    """Score a model by top-1 and top-5 accuracy on images in one folder a class.

    Args:
        segmenter: With one space for images and sentences.
        images: To classify.
        train: Images of the same classes to train a linear probe on; None for none.
        prompts: Prompt set for the names; the model's own by default.
        views: Random crops of each training image.
        probe: How the probe is trained.
        notes: Gets a sentence about each folder in which something is not looked at.

    Returns:
        ``zero-shot``, and ``linear probe`` where there are images to train on; accuracy by k.

    Raises:
        DatasetError: A folder has no images, or the two have other classes.
        InputError: The model has no vectors of whole images.
    """
    model = as_image_text_model(segmenter)
    names, files = _class_folders(images, notes)
    labels = torch.tensor([label for _, label in files])
    vectors = embed_images(model, _read([file for file, _ in files]))
    chosen = prompts or segmenter.settings.prompts
    with torch.inference_mode():
        as_asked = replace(segmenter.settings, background="none", prompts=chosen)
        scores = vectors @ segmenter.name_classes(list(names), as_asked).embeddings.float().cpu().T
    ks = (1, min(5, len(names)))
    found = {"zero-shot": top_k_accuracy(scores.numpy(), labels.numpy(), ks)}
    if train is None:
        return found
    train_names, train_files = _class_folders(train, notes)
    if train_names != names:
        raise DatasetError(
            doing=f"training a linear probe on {train}",
            found=f"the classes {', '.join(train_names[:8])}",
            expected=f"those of {images}: {', '.join(names[:8])}",
            fix="Give two folders with the same classes.",
        )
    found["linear probe"] = linear_probe(
        _views(model, [file for file, _ in train_files], views),
        torch.tensor([label for _, label in train_files]),
        vectors,
        labels,
        num_classes=len(names),
        settings=probe,
    )
    return found


def _class_folders(path: Path, notes: list[str] | None) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    passed_over = PassedOver()
    found = read_class_folders(path, passed_over)
    if notes is not None and passed_over:
        notes.append(passed_over.note(path))
    return found


def _read(files: Sequence[Path]) -> Iterator[Sample]:
    return (Sample(image=load_image(file), source=file) for file in files)


def _views(model: ImageTextModel, files: Sequence[Path], views: int) -> Float[Tensor, "V N D"]:
    """Embed random crops (8 to 100 % of an image, as in "Masked Autoencoders"), ``views`` of each image."""
    crop = RandomCropSettings(min_area=0.08)
    return torch.stack(
        [embed_images(model, _crops(files, crop, model.image_side, view)) for view in range(views)]
    )


def _crops(files: Sequence[Path], settings: RandomCropSettings, side: int, view: int) -> Iterator[Sample]:
    for index, file in enumerate(files):
        image = load_image(file)
        box = draw_crop(image.shape[0], image.shape[1], settings, sample_rng(0, view, index))
        yield Sample(image=np.ascontiguousarray(resize_crop(image, box, side)), source=file)
