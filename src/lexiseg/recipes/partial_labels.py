"""Where weak-shot training data come from, and what they are scored on."""

import dataclasses
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8, UInt16

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.augmentation.labelled_crop import LabelledCrop, LabelledCropSettings, crop_with_labels
from lexiseg.data.datasets import open_dataset
from lexiseg.data.folder import FolderDataset
from lexiseg.data.folder_lists import read_vocabulary
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.partial_labels.batches import WeakShotSettings, weak_shot_data, whole_image
from lexiseg.data.partial_labels.distillation_batches import WholeImages
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from lexiseg.data.partial_labels.pseudo_masks import PseudoMaskedDataset, WithPseudoMasks
from lexiseg.data.partial_labels.seen_only import SeenOnly
from lexiseg.data.plausibility import data_warnings
from lexiseg.data.published.checks import check_folder
from lexiseg.data.published.clothing import clothing_vocabulary, held_out
from lexiseg.data.scenes import SceneDataset, SceneSettings, scene_vocabulary
from lexiseg.data.scenes.settings import weak_shot_scenes, zero_shot_scenes
from lexiseg.data.splits import load_split, with_unseen_share
from lexiseg.data.stepwise import StepwiseData
from lexiseg.data.subset import Subset
from lexiseg.data.unlabelled_images import UnlabelledImages

#: Data sets that are not published ones: made on the fly, a person's own, the photographs of dressed people.
SCENES, FOLDER, CLOTHING = "scenes", "folder", "clothing"


_RANGES = {
    "unseen_share": Range(least=0, most=0.99, above=True),
    "num_scenes": Range(least=1, most=10_000_000),
    "num_scored_scenes": Range(least=1, most=10_000_000),
}


@dataclass(frozen=True, kw_only=True)
class PartlyLabelledSource(ABC):
    """Images to train with, some classes of which have no masks, and images to evaluate on.

    Attributes:
        dataset: Data set: ``scenes``, ``folder`` (layout in docs/datasets.md), ``clothing``, or the name of a
            published one.
        path: Folder of the copy; scenes need none.
        train_split: Split to train with; None for the usual one. For a folder that is train.txt, or all of
            its images but those to score where there is no such list.
        scored_split: Split to evaluate on; None for the usual one. For a folder that is val.txt; without such
            a list nothing is evaluated.
        class_split: Name of the split of a published data set's classes into seen and unseen.
        unseen_share: Share of the classes of a folder, or of the photographs of clothes, that are unseen whatever
            its lists say, in (0, 1): for studies on data with masks of all classes. Larger shares contain smaller
            ones; which classes is decided by a hash of their names, a background always being seen. None goes by
            the data.
        unseen_masks: Handling of masks of unseen classes: ``hide`` turns them into void, ``refuse`` is an
            error.
        pseudo_masks: Folder of pseudo masks to train with; every class then has masks. None trains on the
            data set's own.
        scenes: Settings of synthetic scenes.
        num_scenes: Number of scenes to train with.
        num_scored_scenes: Number of scenes to evaluate on.
    """

    dataset: str = SCENES
    path: Path | None = None
    train_split: str | None = None
    scored_split: str | None = None
    class_split: str | None = None
    unseen_share: float | None = None
    unseen_masks: Literal["hide", "refuse"] = "hide"
    pseudo_masks: Path | None = None
    scenes: SceneSettings = field(default_factory=weak_shot_scenes)
    num_scenes: int = 2000
    num_scored_scenes: int = 200

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the training data")
        if self.unseen_share is not None and self.dataset not in (FOLDER, CLOTHING):
            raise InputError(
                doing="reading the settings of the training data",
                found=f"unseen_share = {self.unseen_share:g} of the data set {self.dataset}",
                expected="a folder: scenes have data.scenes.unseen_share, published data sets data.class_split",
                fix="Use that setting instead.",
            )

    @abstractmethod
    def masked_labels(self, seed: int) -> MaskedLabels | SeenOnly:
        """Open the training images without the masks that must not be seen; ``seed`` is that of scenes."""

    def vocabulary(self) -> Vocabulary:
        """Return the classes with their division. Only ``folder`` looks at the copy.

        Raises:
            InputError: It is not said where the copy is or how the classes are divided.
            DatasetError: There is no copy.
        """
        if self.dataset == SCENES:
            return scene_vocabulary(self.scenes)
        if self.dataset in (CLOTHING, FOLDER):
            classes = clothing_vocabulary() if self.dataset == CLOTHING else read_vocabulary(self._copy())
            return classes if self.unseen_share is None else with_unseen_share(classes, self.unseen_share)
        if self.class_split is None:
            raise _missing("no division of the classes", "class_split", "weak-shot-coco-stuff10k-s1")
        split = load_split(self.class_split)
        return Vocabulary(names=split.names, seen=split.seen)

    def scored_images(self) -> LabelledDataset | None:
        """Open the images to score, with all masks and the division; None for a folder that lists none.

        Raises:
            DatasetError: The copy is incomplete.
        """
        if self.dataset == SCENES:
            images: LabelledDataset = SceneDataset(self.scenes, self.num_scored_scenes)
        elif self.dataset == CLOTHING:
            masked = FolderDataset(self._copy(), labels="only")
            images = Subset(masked, held_out(masked.stems), split="every fourth with masks")
        elif self.dataset == FOLDER:
            split = self.scored_split or self._list_of_folder("val")
            if split is None:
                return None
            images = FolderDataset(self._copy(), split, labels="only")
        else:
            images = open_dataset(self.dataset, self._copy(), self.scored_split)
        return Subset(images, vocabulary=self.vocabulary())

    def _training_images(self, seed: int) -> LabelledDataset:
        """Open the training images, with a warning where their labels are doubtful."""
        images = self._open_training_images(seed)
        if self.dataset == FOLDER:
            self._refuse_faults()
        elif self.dataset != SCENES:
            for warning in data_warnings(images):
                warnings.warn(warning, stacklevel=2)
        return images

    def _refuse_faults(self) -> None:
        """Check the folder as ``lexiseg datasets check`` does: refuse what must be mended, warn of the rest.

        Raises:
            DatasetError: Something must be mended; the message has the first of it.
        """
        report = check_folder(self._copy())
        for finding in report.findings:
            if finding.level == "warning":
                warnings.warn(finding.what, stacklevel=3)
        errors = [finding for finding in report.findings if finding.level == "error"]
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise DatasetError(
                doing=f"checking the folder {self._copy()} before training",
                found=f"{errors[0].what}{more}",
                expected="a folder that lexiseg datasets check finds nothing to mend in",
                fix=f"{errors[0].fix} lexiseg datasets check folder {self._copy()} lists all.",
            )

    def _open_training_images(self, seed: int) -> LabelledDataset:
        if self.dataset == SCENES:
            return SceneDataset(self.scenes, self.num_scenes, seed=1 + seed)
        if self.dataset == CLOTHING:
            folder = FolderDataset(self._copy())
            masked = FolderDataset(self._copy(), labels="only").stems
            left_out = {masked[index] for index in held_out(masked)}
            kept = [index for index, stem in enumerate(folder.stems) if stem not in left_out]
            return Subset(folder, kept, split="all but every fourth with masks")
        if self.dataset == FOLDER:
            return self._without_scored(
                FolderDataset(self._copy(), self.train_split or self._list_of_folder("train"))
            )
        return open_dataset(self.dataset, self._copy(), self.train_split or "train")

    def _without_scored(self, folder: FolderDataset) -> LabelledDataset:
        """Leave the images to score out of all of a folder; refuse lists that share one.

        Raises:
            DatasetError: An image is listed to train with and to score.
        """
        split = self.scored_split or self._list_of_folder("val")
        if split is None:
            return folder
        scored = set(FolderDataset(self._copy(), split, labels="only").stems)
        kept = [index for index, stem in enumerate(folder.stems) if stem not in scored]
        if len(kept) == len(folder):
            return folder
        if folder.split is not None:
            both = [stem for stem in folder.stems if stem in scored]
            raise DatasetError(
                doing=f"opening the images of {self._copy()} to train with",
                found=f"{len(both)} images of {folder.split}.txt in {split}.txt too: {', '.join(both[:3])}"
                + (", …" if len(both) > 3 else ""),
                expected="no image that is trained with among those that are scored",
                fix="Take them out of one of the lists, or name others with --data.train-split, --data.scored-split.",
            )
        return Subset(folder, kept, split=f"all but {split}")

    def _list_of_folder(self, name: str) -> str | None:
        return name if (self._copy() / f"{name}.txt").is_file() else None

    def _copy(self) -> Path:
        if self.path is None:
            raise _missing(f"no folder of the data set {self.dataset}", "path", "FOLDER")
        return self.path


@dataclass(frozen=True, kw_only=True)
class WeakShotSource(PartlyLabelledSource):
    """Masks of some classes, tags of the others.

    Attributes:
        all_masks: Train with the masks of all classes (the oracle). The class split is kept for the
            evaluation.
        crop: Settings of random square crops; None takes whole images of one size.
        batches: Settings of batches.
    """

    all_masks: bool = False
    crop: LabelledCropSettings | None = None
    batches: WeakShotSettings = field(default_factory=WeakShotSettings)

    def trained_vocabulary(self) -> Vocabulary:
        """Return the classes as training sees them: all of them with masks for the oracle and in re-training."""
        vocabulary = self.vocabulary()
        if not self.all_masks and self.pseudo_masks is None:
            return vocabulary
        return dataclasses.replace(vocabulary, seen=frozenset(range(len(vocabulary))))

    def masked_labels(self, seed: int) -> MaskedLabels:
        """Open the training images without the masks that must not be seen; reads all of them once.

        Args:
            seed: Seed of scenes.

        Raises:
            InputError: Masks of unseen classes are both refused and needed.
            DatasetError: The copy is incomplete or contradicts itself.
        """
        needs_truth = self.batches.needs_truth and not self.all_masks and self.pseudo_masks is None
        if needs_truth and self.unseen_masks == "refuse":
            raise InputError(
                doing="opening weak-shot data",
                found="tags of crops, or the truth, of data whose unseen classes have no masks",
                expected="data.batches.presence = image and data.batches.truth = False, or masks of all classes",
                fix="Give --data.unseen-masks hide if the label files do show the unseen classes.",
            )
        found = MaskedLabels(
            Subset(self._training_images(seed), vocabulary=self.vocabulary()),
            unseen_masks=self.unseen_masks,
            gives_truth=needs_truth,
        )
        if not any(known.masked for known in found.known):
            warnings.warn(
                f"none of the {len(found):,} images of {found.path} has a mask: where a class is, and which pixels are"
                " alike, is learnt from masks of other classes. Add label files of the classes in seen.txt",
                stacklevel=2,
            )
        return found

    def training_data(self, *, batch_size: int, seed: int) -> StepwiseData:
        """Make the batches to train with.

        Raises:
            DatasetError: The copy is incomplete or contradicts itself.
        """
        if self.all_masks:
            images = Subset(self._training_images(seed), vocabulary=self.trained_vocabulary())
            masked_labels = MaskedLabels(images)
        else:
            masked_labels = self.masked_labels(seed)
            if self.pseudo_masks is not None:
                pseudo = PseudoMaskedDataset(masked_labels, self.pseudo_masks)
                masked_labels = MaskedLabels(Subset(pseudo, pseudo.labelled()))
        batches = self.batches
        if not masked_labels.gives_truth:
            batches = dataclasses.replace(batches, presence="image", truth=False)
        crop = self.crop
        return weak_shot_data(
            masked_labels,
            batches,
            # One attempt: what counts as a label is decided by the batch, which draws again itself.
            whole_image if crop is None else RandomSquare(settings=dataclasses.replace(crop, max_attempts=1)),
            batch_size=batch_size,
            seed=seed,
            crop_facts={} if crop is None else dataclasses.asdict(crop),
        )


@dataclass(frozen=True, kw_only=True)
class ZeroShotSource(PartlyLabelledSource):
    """Masks of some classes, nothing of the others.

    Attributes:
        scenes: Settings of synthetic scenes.
        masks: ``seen``; ``none`` trains without any mask or name, on any folder of images; ``all`` trains with
            the masks of all classes (the oracle), the class split being kept for the evaluation.
        size: Side of the squares that whole images are fitted into, in pixels.
        flip: Whether to mirror images at random.
        crop: Settings of random square crops; None takes whole images.
        truth: Whether batches hold the true label maps too, for ablations.
    """

    scenes: SceneSettings = field(default_factory=zero_shot_scenes)
    masks: Literal["seen", "none", "all"] = "seen"
    size: int = 64
    flip: bool = True
    crop: LabelledCropSettings | None = None
    truth: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, {"size": Range(least=1, most=100_000)}, method="the training data")

    def pieces(self) -> LabelledCropSettings | WholeImages:
        """Return what becomes of an image; a crop is drawn once, even if it shows no class."""
        if self.crop is None:
            return WholeImages(size=self.size, flip=self.flip)
        return dataclasses.replace(self.crop, max_attempts=1)

    def training_images(self, seed: int) -> LabelledDataset:
        """Open the images to train with as the data set has them: what a teacher may look at."""
        if self.dataset == FOLDER and self.masks == "none" and not (self._copy() / "classes.txt").is_file():
            return UnlabelledImages(self._copy())
        return Subset(self._training_images(seed), vocabulary=self.vocabulary())

    def masked_labels(self, seed: int) -> SeenOnly:
        """Open the training images without the masks and names that must not be seen.

        Raises:
            DatasetError: The copy is incomplete, or no class is seen.
        """
        images, masks = self.training_images(seed), self.masks
        if self.pseudo_masks is not None:
            images, masks = WithPseudoMasks(images, self.pseudo_masks), "all"
        return SeenOnly(images, masks=masks, unseen_masks=self.unseen_masks, gives_truth=self.truth)

    def scored_images(self) -> LabelledDataset | None:
        """Open the images to evaluate on; None for a folder without classes, or that lists none.

        Raises:
            DatasetError: The copy is incomplete.
        """
        if self.dataset == FOLDER and not (self._copy() / "classes.txt").is_file():
            return None
        return super().scored_images()


@dataclass(frozen=True, kw_only=True)
class RandomSquare:
    """A ``Crop``: a random square of an image, drawn once."""

    settings: LabelledCropSettings

    def __call__(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        label_map: UInt16[np.ndarray, "H W"],
        rng: np.random.Generator,
    ) -> LabelledCrop:
        """Draw a square; it may show no label."""
        return crop_with_labels(image, label_map, self.settings, rng)


def _missing(found: str, name: str, example: str) -> InputError:
    return InputError(
        doing="opening the training data",
        found=found,
        expected=f"the setting data.{name}",
        fix=f"Give --data.{name.replace('_', '-')} {example}.",
    )
