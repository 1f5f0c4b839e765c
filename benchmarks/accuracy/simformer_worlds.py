"""The worlds of simformer_frozen.py: pasted scenes of many and of few classes, small photographs; ridge regression."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from frozen_features import PENALTIES, Moments, score, total
from jaxtyping import UInt8
from PIL import Image

from lexiseg.core.atomic_write import atomic_folder
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.data.folder import FolderDataset
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.published.clothing import held_out
from lexiseg.data.scenes import PasteSettings
from lexiseg.data.scenes.write_folder import write_scene_folder
from lexiseg.data.transforms import resize_image
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.metrics.iou import iou_of_pixels
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.recipes.partial_labels import WeakShotSource

#: Scenes to train with, and things.
WORLDS = {
    "many": (
        400,
        "cactus tulip rose sunflower mushroom tomato eggplant grapes watermelon lemon banana pineapple red_apple pear "
        "strawberry hamburger pizza doughnut birthday_cake balloon backpack guitar trumpet violin basketball trophy "
        "motorcycle house castle mouse cow tiger rabbit cat crocodile whale snail snake horse rooster dog pig elephant "
        "octopus lady_beetle tropical_fish turtle penguin koala camel frog panda crown jeans dress running_shoe ghost "
        "light_bulb camera key",
    ),
    "few": (250, "cactus pineapple guitar cow tropical_fish house balloon motorcycle"),
}
NUM_SCORED = 100
VOID = 255
#: Side of the scenes in pixels.
SCENE = 112


class Photographs(NamedTuple):
    """A world of photographs with masks.

    Attributes:
        size: Height and width that their middle is resized to: four by three of the coarsest places of the feature pyramid.
        names: Those that are learnt; pixels of all others are void.
        unseen: Names with tags only.
        held_out: Chooses the photographs to score by their stems.
    """

    size: tuple[int, int]
    names: tuple[str, ...]
    unseen: tuple[str, ...]
    held_out: Callable[[Sequence[str]], Iterable[int]]


#: *photographs*: the names that cover most pixels of Clothing Co-Parsing, the most first; those are unseen that the
#: project's division of all names (``data.published.clothing``) has among its unseen ones. *objects*: the names that
#: most photographs of the COCO folders show, the most first; every fourth is unseen, every fourth photograph scored.
PHOTOGRAPHS = {
    "photographs": Photographs(
        size=(224, 168),
        names=(
            "null",
            "skin",
            "coat",
            "pants",
            "hair",
            "skirt",
            "blouse",
            "bag",
            "suit",
            "dress",
            "jeans",
            "shoes",
        ),
        unseen=("dress", "jeans", "shoes"),
        held_out=held_out,
    ),
    "objects": Photographs(
        size=(168, 224),
        names=(
            "person",
            "sky",
            "wall",
            "tree",
            "grass",
            "floor",
            "building",
            "dining table",
        ),
        unseen=("tree", "dining table"),
        held_out=lambda stems: range(3, len(stems), 4),
    ),
}


def scene_folder(world: str, cutouts: Path, out: Path, *, size: int = SCENE) -> Path:
    """Write the scenes of a world, where they are not there yet."""
    num, names = WORLDS[world]
    folder = out / (world if size == SCENE else f"{world}-{size}")
    settings = PasteSettings(
        folder=cutouts,
        names=tuple(name.replace("_", " ") for name in names.split()),
        size=size,
        num_stuffs=4,
        things_per_scene=(2, 3),
    )
    write_scene_folder(settings, folder, num=num + NUM_SCORED, num_val=NUM_SCORED)
    return folder


def photograph_folder(world: str, sources: Sequence[Path], out: Path) -> Path:
    """Write the middle of the photographs of a world with its names, where they are not there yet."""
    folder = out / world
    if folder.is_dir():
        return folder
    size, names, unseen, choose = PHOTOGRAPHS[world]
    tags: dict[str, list[str]] = {}
    with atomic_folder(folder) as files:
        for name in ("images", "labels"):
            (files / name).mkdir()
        for source in sources:
            data = FolderDataset(source, labels="only")
            number = np.full(2**16, VOID, np.uint8)
            for label, name in enumerate(data.vocabulary.names):
                if name in names:
                    number[label] = names.index(name)
            for stem, sample in zip(data.stems, data, strict=True):
                assert sample.label_map is not None
                cut = _middle(sample.label_map.shape, size)
                image: UInt8[np.ndarray, "H W 3"] = np.ascontiguousarray(sample.image[cut])
                small = (resize_image(image, size) * 255).round().byte().permute(1, 2, 0).numpy()
                labels = Image.fromarray(number[sample.label_map[cut]])
                labels = labels.resize(size[::-1], Image.Resampling.NEAREST)
                there = [name for label, name in enumerate(names) if label in np.asarray(labels)]
                if there:  # a photograph of other names has nothing to learn or to score
                    Image.fromarray(small).save(files / "images" / f"{stem}.png")
                    labels.save(files / "labels" / f"{stem}.png")
                    tags[stem] = there
        scored = set(choose(list(tags)))
        lists = {
            "classes.txt": names,
            "seen.txt": [name for name in names if name not in unseen],
            "val.txt": [stem for index, stem in enumerate(tags) if index in scored],
            "train.txt": [stem for index, stem in enumerate(tags) if index not in scored],
            "tags.tsv": [f"{stem}\t{', '.join(there)}" for stem, there in tags.items()],
        }
        for name, lines in lists.items():
            (files / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def _middle(size: tuple[int, int], ratio: tuple[int, int]) -> tuple[slice, slice]:
    """Choose the largest middle part with the ratio of sides."""
    scale = min(have / want for have, want in zip(size, ratio, strict=True))
    slices = []
    for have, want in zip(size, ratio, strict=True):
        length = round(want * scale)
        slices.append(slice((have - length) // 2, (have - length) // 2 + length))
    return slices[0], slices[1]


class _Images:
    """Images of a world as the trainings see them."""

    def __init__(self, data: LabelledDataset) -> None:
        self.data = data
        self.names = data.vocabulary.names

    def encoded(self, index: int, encoder: ImageEncoder) -> PatchFeatures:
        """Encode one, whole."""
        image = self.data[index].image
        with torch.inference_mode():
            return encoder(resize_image(image, image.shape[:2])[None])

    def label_map(self, index: int) -> np.ndarray:
        """Return the true labels."""
        label_map = self.data[index].label_map
        assert label_map is not None
        return label_map


def ridge(source: WeakShotSource) -> dict[str, float]:
    """Fit all masks of the training images by ridge regression from DINOv2's patches; score as the tables do.

    The unseen classes are those of ``source``. The penalty is chosen by the last quarter of the training images;
    then all of them are fitted.
    """
    encoder = load_dinov2(resolve_checkpoint("dinov2-small"))
    cached = CachedEncoder(encoder, fingerprint=encoder.fingerprint)
    scored = source.scored_images()
    assert scored is not None
    assert source.path is not None
    trained = _Images(FolderDataset(source.path, "train", labels="only"))
    indices = range(len(trained.data))
    judging = indices[len(indices) * 3 // 4 :]
    fitted, judged = (Moments(trained, part, cached) for part in (indices[: judging.start], judging))

    def mean_iou(images: _Images, part: Sequence[int], weights: torch.Tensor) -> np.ndarray:
        pixels = total(score(images, part, cached, weights), len(images.names))
        return np.where(pixels[0] > 0, iou_of_pixels(*pixels), np.nan)

    found = [np.nanmean(mean_iou(trained, judging, fitted.solve(penalty))) for penalty in PENALTIES]
    penalty = PENALTIES[int(np.argmax(found))]
    images = _Images(scored)
    iou = mean_iou(images, range(len(scored)), (fitted + judged).solve(penalty))
    seen = sorted(scored.vocabulary.seen or ())
    unseen = sorted(set(range(len(iou))) - set(seen))
    return {
        "penalty": penalty,
        "unseen_mean_iou_present": round(float(np.nanmean(iou[unseen])), 4),
        "seen_mean_iou_present": round(float(np.nanmean(iou[seen])), 4),
        "mean_iou_present": round(float(np.nanmean(iou)), 4),
        **{images.names[label]: round(float(iou[label]), 4) for label in unseen},
    }
