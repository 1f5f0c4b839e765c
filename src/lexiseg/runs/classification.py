"""Classify whole images: zero-shot by names, by a linear probe and by logistic regression on frozen features.

The probe is the recipe of SimSeg's Table 10, after "Masked Autoencoders" (CVPR 2022): one linear layer on standardised
features of random crops, half of them mirrored, LARS without weight decay, momentum 0.9, 10 of 90 epochs of warm-up,
half a cosine. Features are those of the image encoder before any projection.

Scaled: the published batch of 32,768 would be a single step here, so an epoch has at least eight. LARS moves
a matrix relative to its own size: rate times steps, published 12.8 (0.1 for every 256) times 3,516 steps, is how far it
can go. With a thousand times fewer images that is too far by some power of ten, so it is the best of five such totals on
a fifth of the images that is held out; the published one is taken from 100,000 images on. The bias, which LARS does not
scale, keeps 0.1. Logistic regression on the same features of whole images, with the penalty chosen on the same fifth, is
what a probe has to reach.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError, ImageError, InputError
from lexiseg.core.interfaces import ParameterGroup
from lexiseg.data.augmentation.random_crop import RandomCropSettings, draw_crop, resize_crop
from lexiseg.data.augmentation.seeding import sample_rng
from lexiseg.data.folder_lists import read_class_folders
from lexiseg.data.image_files import PassedOver
from lexiseg.data.images import load_image
from lexiseg.engine.optim import build_optimizer, lr_factor, set_lr
from lexiseg.engine.settings import OptimSettings
from lexiseg.inference.segmenter import Segmenter
from lexiseg.metrics.retrieval import top_k_accuracy
from lexiseg.scoring.image_text import Fit, as_image_text_model, embed_images, probe_vector

_BIAS_RATE = 0.1
_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How a probe is trained.

    Attributes:
        num_epochs: Number of passes over the images.
        warmup_epochs: Number of first epochs in which the learning rate rises.
        total_lr_steps: Peak learning rate times number of steps: fewer steps get a higher rate. Of several the best on a
            fifth of the images that is held out, the first from ``many_images`` on.
        many_images: Number of images from which the first of ``total_lr_steps`` is taken unseen.
        largest_batch: Largest batch size in images.
        least_steps: Smallest number of steps per epoch, where there are as many images.
        seed: Seed of weights and order of images, 0 or more.
    """

    num_epochs: int = 90
    warmup_epochs: int = 10
    total_lr_steps: tuple[float, ...] = tuple(12.8 * 3516 * factor for factor in (1, 0.1, 0.01, 1e-3, 1e-4))
    many_images: int = 100_000
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
    totals = settings.total_lr_steps
    total = totals[0]
    if len(totals) > 1 and len(labels) < settings.many_images:
        fitted, held = _held_out(labels, settings.seed)
        reached = [
            _accuracy(
                _fit_probe(features[:, fitted], labels[fitted], num_classes, settings, each),
                features[0, held],
                labels[held],
                1,
            )[1]
            for each in totals
        ]
        total = totals[int(np.argmax(reached))]
    probe = _fit_probe(features, labels, num_classes, settings, total)
    return _accuracy(probe, test_features, test_labels, min(5, num_classes))


#: From features to scores.
_Classifier = Callable[[Float[Tensor, "T D"]], Float[Tensor, "T K"]]


def _fit_probe(
    features: Float[Tensor, "V N D"],
    labels: Int64[Tensor, " N"],
    num_classes: int,
    settings: ProbeSettings,
    total_lr_steps: float,
) -> _Classifier:
    mean, std = features.mean((0, 1)), features.std((0, 1)).clamp(min=1e-6)
    views = (features - mean) / std
    layer = nn.Linear(views.shape[2], num_classes)
    nn.init.normal_(layer.weight, std=0.01, generator=torch.Generator().manual_seed(settings.seed))
    nn.init.zeros_(layer.bias)
    batch = min(settings.largest_batch, -(-len(labels) // settings.least_steps))
    per_epoch = -(-len(labels) // batch)
    num_steps = settings.num_epochs * per_epoch
    optim = OptimSettings(
        optimizer="lars",
        lr=total_lr_steps / num_steps,
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
    return lambda tested: layer((tested - mean) / std).detach()


def logistic_regression(
    features: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    test_features: Float[Tensor, "T D"],
    test_labels: Int64[Tensor, " T"],
    *,
    num_classes: int,
    seed: int = 0,
) -> dict[int, float]:
    """Fit a linear layer by L-BFGS on standardised features and return its top-1 and top-5 accuracy.

    The penalty is the best of five on a fifth of the images that is held out.
    """
    fitted, held = _held_out(labels, seed)
    reached = [
        _accuracy(
            _fit_logistic(features[fitted], labels[fitted], num_classes, penalty),
            features[held],
            labels[held],
            1,
        )[1]
        for penalty in _PENALTIES
    ]
    best = _PENALTIES[int(np.argmax(reached))]
    classifier = _fit_logistic(features, labels, num_classes, best)
    return _accuracy(classifier, test_features, test_labels, min(5, num_classes))


def _fit_logistic(
    features: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], num_classes: int, penalty: float
) -> _Classifier:
    mean, std = features.mean(0), features.std(0).clamp(min=1e-6)
    inputs = (features - mean) / std
    weight = torch.zeros(num_classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            value = cross_entropy(inputs @ weight.T + bias, labels) + penalty * weight.square().sum()
            torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return lambda tested: ((tested - mean) / std @ weight.T + bias).detach()


def _held_out(labels: Int64[Tensor, " N"], seed: int) -> tuple[Int64[Tensor, " F"], Int64[Tensor, " H"]]:
    """Return the images to fit on and every fifth of each class, in a drawn order, to choose by; all twice where too few."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[torch.argsort(labels[order], stable=True)]
    place = torch.arange(len(labels))
    held = place % 5 == 4
    return (order, order) if not held.any() else (order[~held], order[held])


def _accuracy(
    classifier: _Classifier, features: Float[Tensor, "T D"], labels: Int64[Tensor, " T"], most: int
) -> dict[int, float]:
    return top_k_accuracy(classifier(features).numpy(), labels.numpy(), (1, most))


def classify_folders(
    segmenter: Segmenter,
    images: Path,
    *,
    train: Path | None = None,
    prompts: str | None = None,
    views: int = 4,
    fit: Fit | None = None,
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
        fit: How images are brought into a square; None for the model's own way.
        probe: How the probe is trained.
        notes: Gets a sentence about each folder in which something is not looked at, or cannot be read and is left out.

    Returns:
        ``zero-shot``, and ``linear probe`` and ``logistic regression`` where there are images to train on; accuracy by k.

    Raises:
        DatasetError: A folder has no images, or the two have other classes.
        InputError: The model has no vectors of whole images.
    """
    model = as_image_text_model(segmenter)
    names, files = _class_folders(images, notes)
    readable = _Readable(files)
    vectors = embed_images(model, readable.whole(), fit=fit)
    labels = readable.labels()
    chosen = prompts or segmenter.settings.prompts
    with torch.inference_mode():
        as_asked = replace(segmenter.settings, background="none", prompts=chosen)
        scores = vectors @ segmenter.name_classes(list(names), as_asked).embeddings.float().cpu().T
    ks = (1, min(5, len(names)))
    found = {"zero-shot": top_k_accuracy(scores.numpy(), labels.numpy(), ks)}
    if train is None:
        readable.note(images, notes)
        return found
    train_names, train_files = _class_folders(train, notes)
    if train_names != names:
        raise DatasetError(
            doing=f"training a linear probe on {train}",
            found=f"the classes {', '.join(train_names[:8])}",
            expected=f"those of {images}: {', '.join(names[:8])}",
            fix="Give two folders with the same classes.",
        )
    features = probe_vector(model)
    to_train = _Readable(train_files)
    whole = embed_images(model, to_train.whole(), fit=fit, vectors=features)
    tested = embed_images(model, readable.whole(), fit=fit, vectors=features)
    crops = torch.stack(
        [
            embed_images(model, to_train.crops(model.image_side, view), fit="squash", vectors=features)
            for view in range(views)
        ]
    )
    train_labels = to_train.labels()
    found["linear probe"] = linear_probe(
        crops, train_labels, tested, labels, num_classes=len(names), settings=probe
    )
    found["logistic regression"] = logistic_regression(
        whole, train_labels, tested, labels, num_classes=len(names)
    )
    for each, folder in ((readable, images), (to_train, train)):
        each.note(folder, notes)
    return found


def _class_folders(path: Path, notes: list[str] | None) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    passed_over = PassedOver()
    found = read_class_folders(path, passed_over)
    if notes is not None and passed_over:
        notes.append(passed_over.note(path))
    return found


class _Readable:
    """Images of classes; those that cannot be read are left out the same way each time, and named.

    Args:
        files: Each with its class.
    """

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self._files = files
        self._unread: dict[Path, str] = {}

    def whole(self) -> Iterator[Sample]:
        """Read every image that can be."""
        for file, _ in self._files:
            if file in self._unread:
                continue
            try:
                yield Sample(image=load_image(file), source=file)
            except ImageError as error:
                self._unread[file] = error.found

    def crops(self, side: int, view: int) -> Iterator[Sample]:
        """Cut a random part out of each (8 to 100 % of an image), half of them mirrored, as in "Masked Autoencoders"."""
        settings = RandomCropSettings(min_area=0.08)
        for index, sample in enumerate(self.whole()):
            rng = sample_rng(0, view, index)
            box = draw_crop(sample.image.shape[0], sample.image.shape[1], settings, rng)
            crop = resize_crop(sample.image, box, side)
            crop = crop[:, ::-1] if rng.random() < 0.5 else crop
            yield Sample(image=np.ascontiguousarray(crop), source=sample.source)

    def labels(self) -> Int64[Tensor, " N"]:
        """Return the classes of the images that could be read; they have been by now."""
        found = [label for file, label in self._files if file not in self._unread]
        if not found:
            raise DatasetError(
                doing="classifying images",
                found=f"none of {len(self._files):,} that can be read",
                expected="whole image files",
                fix="Copy them again from their source.",
            )
        return torch.tensor(found)

    def note(self, folder: Path, notes: list[str] | None) -> None:
        """Note what was left out."""
        if self._unread and notes is not None:
            named = [f"{file.relative_to(folder)} ({why})" for file, why in self._unread.items()]
            more = f", and {len(named) - 5:,} more" if len(named) > 5 else ""
            notes.append(f"cannot be read and left out of {folder}: {', '.join(named[:5])}{more}")
