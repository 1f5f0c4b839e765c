"""FolderDataset: the data a person brings, as a folder of images, index PNGs and text lists.

::

    mydata/
      classes.txt           one class a line, in label order; synonyms after a tab, comma-separated
      images/               jpg, png, webp, …; subfolders are a part of the stem
      labels/               index PNG, 8 or 16 bit, same stem; 255 or 65535 = void      optional
      tags.tsv              image stem <tab> class, class, …                            optional
      captions.tsv          image stem <tab> caption (several lines an image allowed)   optional
      seen.txt              names of the classes that have masks                        optional
      train.txt, val.txt    stems                                                       optional
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.batch import Sample
from lexiseg.core.file_names import name_key
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.folder_lists import (
    first_of,
    folder_error,
    read_captions,
    read_split,
    read_tags,
    read_vocabulary,
    stem_of,
    with_seen,
)
from lexiseg.data.formats.annotations import AnnotationSet, ListedImage
from lexiseg.data.formats.known_formats import find_annotations, locate_images
from lexiseg.data.image_files import PassedOver, list_images, walk_files
from lexiseg.data.images import ValueRange, image_size, load_image
from lexiseg.data.label_files import check_labels, read_label_map, reduce_zero_label
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest, refuse_other_size

_TURNED = "The sides are swapped: the image is turned upright by its EXIF data; turn the label file too."


class FolderDataset(LabelledDataset):
    """Samples of a folder, in the order of their stems; images are read when asked for.

    The lists and the pairing of files are checked at once; size and values of a label map when its
    sample is read.

    Args:
        path: The folder.
        split: Name of a list of stems, e.g. ``"val"`` for ``val.txt``; None for all images.
        labels: ``optional`` gives a sample without label map where there is no label file;
            ``required`` refuses such images; ``only`` leaves them out.
        reduce_zero: Label files say 0 for "none of the classes" and ``k + 1`` for class ``k``.
        value_range: Black and white of 16- and 32-bit images: ``0..4095`` or ``percentile``; None for all of 16 bits.

    Attributes:
        vocabulary: From classes.txt, with ``seen`` from seen.txt.
        stems: One a sample, sorted.
        num_unlabelled: Images of the split without a label file (left out where ``labels="only"``).
        notes: What in images/ and labels/ is not looked at, a sentence each.

    Raises:
        DatasetError: Something is missing or contradicts itself; the message names it.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        *,
        labels: Literal["optional", "required", "only"] = "optional",
        reduce_zero: bool = False,
        value_range: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.split = split
        self.labels = labels
        self.reduce_zero = reduce_zero
        self.value_range = value_range
        self._value_range = None if value_range is None else ValueRange.parse(value_range)
        self.notes: list[str] = []
        self._annotated: dict[str, ListedImage] = {}
        annotations = find_annotations(self.path)
        if annotations is None:
            self.vocabulary = read_vocabulary(self.path)
            self._image_folder = self.path / "images"
            self._image_paths = self._find_images()
            self._label_paths = self._find_labels()
        else:
            self._take(annotations)
        stems = sorted(self._image_paths)
        of_split = sorted(
            stem for stem in stems if stem in self._annotated and self._annotated[stem].split == split
        )
        if split is not None and of_split and not (self.path / f"{split}.txt").is_file():
            stems = of_split
        elif split is not None:
            stems = read_split(self.path, split)
            self._refuse_unknown_stems(stems, f"{split}.txt")
        unlabelled = [stem for stem in stems if stem not in self._label_paths]
        self.num_unlabelled = len(unlabelled)
        if labels == "required" and unlabelled:
            raise folder_error(
                self.path,
                f"{len(unlabelled):,} of {len(stems):,} images without a label file: {first_of(unlabelled)}",
                "a label PNG of the same stem in labels/ for every image",
                "Add the label files, list the labelled stems in val.txt and choose that split,"
                ' or leave the others out with labels="only" (--labelled-only).',
            )
        self.stems = [stem for stem in stems if stem in self._label_paths] if labels == "only" else stems
        if not self.stems:
            found = f"no label file for any of its {len(stems):,} images"
            raise folder_error(self.path, found, "label PNGs of the same stems in labels/", "Add them.")
        self._tags = read_tags(self.path, self.vocabulary)
        self._refuse_unknown_stems(self._tags, "tags.tsv")
        self._captions = read_captions(self.path)
        self._refuse_unknown_stems(self._captions, "captions.tsv")

    @property
    def tags(self) -> Mapping[str, frozenset[int]]:
        """Labels of the classes that tags.tsv gives each image, by its stem."""
        return self._tags

    @property
    def captions(self) -> Mapping[str, tuple[str, ...]]:
        """Captions of each image that has some, by its stem."""
        return self._captions

    def image_path(self, index: int) -> Path:
        """Return the file of one image."""
        return self._image_paths[self.stems[index]]

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            ImageError: The image cannot be read.
            DatasetError: The label file cannot be read, has another size than the image, or holds
                labels out of range.
        """
        stem = self.stems[index]
        image = load_image(self._image_paths[stem], self._value_range)
        label_map = self._read_labels(stem)
        if label_map is not None:
            label_path = self._label_paths[stem]
            refuse_other_size(self._image_paths[stem], image.shape[:2], label_path, label_map.shape, _TURNED)
            check_labels(label_map, len(self.vocabulary), label_path)
        return Sample(
            image=image,
            source=self._image_paths[stem],
            label_map=label_map,
            tags=self._tags.get(stem),
            captions=self._captions.get(stem, ()),
        )

    def read_label_map(self, index: int) -> UInt16[np.ndarray, "H W"] | None:
        """Read the label map of one sample; None where there is none.

        Raises:
            DatasetError: The label file cannot be read, or holds labels out of range.
        """
        stem = self.stems[index]
        label_map = self._read_labels(stem)
        if label_map is not None:
            check_labels(label_map, len(self.vocabulary), self._label_paths[stem])
        return label_map

    def _read_labels(self, stem: str) -> UInt16[np.ndarray, "H W"] | None:
        if stem not in self._label_paths:
            return None
        if stem in self._annotated:
            listed = self._annotated[stem]
            return listed.read(listed.size or image_size(self._image_paths[stem]))
        label_map = read_label_map(self._label_paths[stem], len(self.vocabulary))
        return reduce_zero_label(label_map) if self.reduce_zero else label_map

    def turned_images(self) -> list[Path]:
        """Return the images with labels: all are turned upright when read."""
        return [self._image_paths[stem] for stem in self.stems if stem in self._label_paths]

    def opened_with(self) -> dict[str, Any]:
        """Return the rules that label files and images were read by."""
        rules = {"dataset": "folder", "labels": self.labels, "reduce_zero": self.reduce_zero}
        return rules if self.value_range is None else {**rules, "value_range": self.value_range}

    def fingerprint(self) -> str:
        """Hash what scores depend on: lists, stems, label files (content), images (name and size).

        Returns:
            64 hexadecimal digits; the same folder elsewhere gives the same.
        """
        digest = hashlib.sha256()
        for name in ("classes.txt", "seen.txt", "tags.tsv", "captions.tsv"):
            file = self.path / name
            add_to_digest(digest, name.encode(), file.read_bytes() if file.is_file() else b"")
        add_to_digest(digest, b"reduce_zero", str(self.reduce_zero).encode())
        if self.value_range is not None:
            add_to_digest(digest, b"value_range", self.value_range.encode())
        for stem in self.stems:
            image = self._image_paths[stem]
            name = name_key(image.relative_to(self._image_folder).as_posix())
            add_to_digest(digest, name.encode("utf-8", "surrogateescape"), str(image.stat().st_size).encode())
            if stem in self._annotated:
                label_map = self._read_labels(stem)
                add_to_digest(digest, b"label", b"" if label_map is None else label_map.tobytes())
            elif stem in self._label_paths:
                add_to_digest(digest, b"label", self._label_paths[stem].read_bytes())
        return digest.hexdigest()

    def _take(self, annotations: AnnotationSet) -> None:
        """Read images and labels where another tool left them; lists of ours beside them count too."""
        given, (root, images, places) = self.path, locate_images(annotations, self.path)
        self.path = self._image_folder = root
        self._image_paths = images
        self._annotated = {
            stem: annotations.images[place] for stem, place in zip(images, places, strict=True)
        }
        self._label_paths = dict.fromkeys(images, given)
        self.vocabulary = with_seen(root, Vocabulary(names=annotations.names))
        if note := annotations.skipped.note(f"these annotations ({annotations.format})"):
            self.notes.append(note)
        if annotations.background is None and annotations.format != "voc":
            self.notes.append(
                "pixels of no region are void: no class of these annotations is called background, which they would be"
            )

    def _find_images(self) -> dict[str, Path]:
        folder = self.path / "images"
        if not folder.is_dir():
            fix = "Put the images there (jpg, png or webp)."
            raise folder_error(self.path, "no folder images/", "images in images/", fix)
        passed_over = PassedOver()
        by_stem: dict[str, list[Path]] = defaultdict(list)
        for file in list_images(folder, passed_over):
            by_stem[stem_of(file, folder)].append(file)
        if not by_stem:
            others = f" ({passed_over.text()})" if passed_over else ""
            found, expected = f"no image in images/{others}", "one or more images (jpg, png, webp)"
            raise folder_error(self.path, found, expected, "Put the images there.")
        self._note(passed_over, "images/")
        for stem, same in by_stem.items():
            if len(same) > 1:
                raise folder_error(
                    self.path,
                    f"{len(same)} images of the stem {stem!r}: {first_of([file.name for file in same])}",
                    "one image a stem, because labels, tags and captions belong to stems",
                    "Rename or remove all but one.",
                )
        return {stem: same[0] for stem, same in by_stem.items()}

    def _note(self, passed_over: PassedOver, where: str) -> None:
        if note := passed_over.note(where):
            self.notes.append(note)

    def _find_labels(self) -> dict[str, Path]:
        folder = self.path / "labels"
        if not folder.is_dir():
            return {}
        paths: dict[str, Path] = {}
        passed_over = PassedOver()
        for relative in walk_files(folder, passed_over):
            file = folder / relative
            stem = stem_of(file, folder)
            if file.suffix.lower() == ".png":
                if stem in paths:
                    found = f"2 label files of the stem {stem!r}: {paths[stem].name}, {file.name}"
                    raise folder_error(self.path, found, "one a stem", "Remove one of them.")
                paths[stem] = file
            elif stem in self._image_paths:
                fix = "Write the labels again as PNG, 8 or 16 bit."
                raise folder_error(self.path, f"the label file labels/{relative}", "index PNGs", fix)
            else:
                passed_over.add_suffix(relative)
        self._note(passed_over, "labels/")
        lonely = sorted(set(paths) - set(self._image_paths))
        if lonely:
            raise folder_error(
                self.path,
                f"{len(lonely):,} of {len(paths):,} label files without an image: {first_of(lonely)}",
                "an image of the same stem in images/ for every label file",
                "Add the images, or make the stems equal (no suffix such as _labelTrainIds).",
            )
        return paths

    def _refuse_unknown_stems(self, stems: Collection[str], name: str) -> None:
        unknown = sorted(set(stems) - set(self._image_paths))
        if unknown:
            with_suffix = Path(unknown[0]).stem in self._image_paths
            raise folder_error(
                self.path,
                f"{len(unknown):,} of {len(stems):,} stems in {name} without an image: {first_of(unknown)}",
                "file names in images/ without their suffix",
                "Leave out .jpg or .png." if with_suffix else "Add the images or remove the lines.",
            )


def has_split(path: str | Path, split: str) -> bool:
    """Return whether a folder has a list of stems of that name, or annotations that say which images are of it."""
    if (Path(path) / f"{split}.txt").is_file():
        return True
    annotations = find_annotations(Path(path))
    return annotations is not None and any(image.split == split for image in annotations.images)


def split_to_score(path: str | Path) -> str | None:
    """Return the split of a folder that is scored where none is asked for: val, where there is one."""
    return "val" if has_split(path, "val") else None


def split_to_use(path: str | Path, split: str | None) -> str | None:
    """Return the split of a folder that a person means: ``all`` is every image, unless there is an all.txt."""
    return None if split == "all" and not (Path(path) / "all.txt").is_file() else split
