"""Classify whole pictures: zero-shot by names, and by a linear probe."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import DatasetError
from lexiseg.core.sample import Sample
from lexiseg.data.augmentation.random_crop import RandomCropSettings, draw_crop, resize_crop
from lexiseg.data.augmentation.seeding import sample_rng
from lexiseg.data.class_folders import read_class_folders
from lexiseg.data.images import load_image
from lexiseg.inference.segmenter import Segmenter
from lexiseg.metrics.retrieval import top_k_accuracy
from lexiseg.recipes.linear_probe import ProbeSettings, linear_probe
from lexiseg.scoring.image_text import ImageTextModel, as_image_text_model, embed_pictures


def classify_folders(
    segmenter: Segmenter,
    pictures: Path,
    *,
    train: Path | None = None,
    prompts: str | None = None,
    views: int = 4,
    probe: ProbeSettings | None = None,
) -> dict[str, dict[int, float]]:
    """Score a model by top-1 and top-5 accuracy on pictures in one folder a class.

    Args:
        segmenter: With one space for pictures and sentences.
        pictures: To classify.
        train: Pictures of the same classes to train a linear probe on; None for none.
        prompts: Prompt set for the names; the model's own by default.
        views: Random crops of each training picture.
        probe: How the probe is trained.

    Returns:
        ``zero-shot``, and ``linear probe`` where there are pictures to train on; accuracy by k.

    Raises:
        DatasetError: A folder has no pictures, or the two have other classes.
        InputError: The model has no vectors of whole pictures.
    """
    model = as_image_text_model(segmenter)
    names, files = read_class_folders(pictures)
    labels = torch.tensor([label for _, label in files])
    vectors = embed_pictures(model, _read([file for file, _ in files]))
    chosen = prompts or segmenter.settings.prompts
    with torch.inference_mode():
        scores = vectors @ segmenter.embed_texts(list(names), chosen).float().cpu().T
    ks = (1, min(5, len(names)))
    found = {"zero-shot": top_k_accuracy(scores.numpy(), labels.numpy(), ks)}
    if train is None:
        return found
    train_names, train_files = read_class_folders(train)
    if train_names != names:
        raise DatasetError(
            doing=f"training a linear probe on {train}",
            found=f"the classes {', '.join(train_names[:8])}",
            expected=f"those of {pictures}: {', '.join(names[:8])}",
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


def _read(files: Sequence[Path]) -> Iterator[Sample]:
    return (Sample(image=load_image(file), source=file) for file in files)


def _views(model: ImageTextModel, files: Sequence[Path], views: int) -> Float[Tensor, "V N D"]:
    """Embed random crops (8 to 100 % of a picture, as in "Masked Autoencoders"), ``views`` of each picture."""
    crop = RandomCropSettings(min_area=0.08)
    return torch.stack(
        [embed_pictures(model, _crops(files, crop, model.picture_side, view)) for view in range(views)]
    )


def _crops(files: Sequence[Path], settings: RandomCropSettings, side: int, view: int) -> Iterator[Sample]:
    for index, file in enumerate(files):
        image = load_image(file)
        box = draw_crop(image.shape[0], image.shape[1], settings, sample_rng(0, view, index))
        yield Sample(image=np.ascontiguousarray(resize_crop(image, box, side)), source=file)
