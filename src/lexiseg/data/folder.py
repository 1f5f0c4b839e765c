"""FolderDataset: the data a person brings, as a folder of images, index PNGs and text lists.

::

    mydata/
      classes.txt           one class a line, in label order; synonyms after a tab, comma-separated
      images/               jpg, png, webp
      labels/               index PNG, 8 or 16 bit, same stem; 255 or 65535 = void      optional
      tags.tsv              image stem <tab> class, class, …                            optional
      captions.tsv          image stem <tab> caption (several lines an image allowed)   optional
      seen.txt              names of the classes that have masks                        optional
      train.txt, val.txt    stems                                                       optional
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from lexiseg.core.batch import Sample
from lexiseg.data.folder_lists import (
    first_of,
    folder_error,
    read_captions,
    read_split,
    read_tags,
    read_vocabulary,
)
from lexiseg.data.images import IMAGE_SUFFIXES, load_image
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

    Attributes:
        vocabulary: From classes.txt, with ``seen`` from seen.txt.
        stems: One a sample, sorted.
        num_unlabelled: Images of the split without a label file (left out where ``labels="only"``).

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
    ) -> None:
        self.path = Path(path)
        self.split = split
        self.labels = labels
        self.reduce_zero = reduce_zero
        self.vocabulary = read_vocabulary(self.path)
        self._image_paths = self._find_images()
        self._label_paths = self._find_labels()
        stems = sorted(self._image_paths)
        if split is not None:
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
        image = load_image(self._image_paths[stem])
        label_map = None
        if stem in self._label_paths:
            label_path = self._label_paths[stem]
            label_map = read_label_map(label_path, len(self.vocabulary))
            if self.reduce_zero:
                label_map = reduce_zero_label(label_map)
            refuse_other_size(self._image_paths[stem], image.shape[:2], label_path, label_map.shape, _TURNED)
            check_labels(label_map, len(self.vocabulary), label_path)
        return Sample(
            image=image,
            source=self._image_paths[stem],
            label_map=label_map,
            tags=self._tags.get(stem),
            captions=self._captions.get(stem, ()),
        )

    def opened_with(self) -> dict[str, Any]:
        """Return the rules that label files were read by."""
        return {"dataset": "folder", "labels": self.labels, "reduce_zero": self.reduce_zero}

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
        for stem in self.stems:
            image = self._image_paths[stem]
            add_to_digest(digest, image.name.encode(), str(image.stat().st_size).encode())
            if stem in self._label_paths:
                add_to_digest(digest, b"label", self._label_paths[stem].read_bytes())
        return digest.hexdigest()

    def _find_images(self) -> dict[str, Path]:
        folder = self.path / "images"
        if not folder.is_dir():
            fix = "Put the images there (jpg, png or webp)."
            raise folder_error(self.path, "no folder images/", "images in images/", fix)
        files = _visible_files(folder)
        by_stem: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            if file.suffix.lower() in IMAGE_SUFFIXES:
                by_stem[file.stem].append(file)
        if not by_stem:
            others = f" ({len(files)} other files: {first_of([f.name for f in files])})" if files else ""
            found, expected = f"no image in images/{others}", "one or more images (jpg, png, webp)"
            raise folder_error(self.path, found, expected, "Put the images there.")
        for stem, same in by_stem.items():
            if len(same) > 1:
                raise folder_error(
                    self.path,
                    f"{len(same)} images of the stem {stem!r}: {first_of([file.name for file in same])}",
                    "one image a stem, because labels, tags and captions belong to stems",
                    "Rename or remove all but one.",
                )
        return {stem: same[0] for stem, same in by_stem.items()}

    def _find_labels(self) -> dict[str, Path]:
        folder = self.path / "labels"
        if not folder.is_dir():
            return {}
        paths: dict[str, Path] = {}
        for file in _visible_files(folder):
            if file.suffix.lower() == ".png":
                if file.stem in paths:
                    found = f"2 label files of the stem {file.stem!r}: {paths[file.stem].name}, {file.name}"
                    raise folder_error(self.path, found, "one a stem", "Remove one of them.")
                paths[file.stem] = file
            elif file.stem in self._image_paths:
                fix = "Write the labels again as PNG, 8 or 16 bit."
                raise folder_error(self.path, f"the label file labels/{file.name}", "index PNGs", fix)
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


def _visible_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
