"""What a folder of images with captions holds, before anything is read: which caption belongs to which image."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lexiseg.data.captions.records import InvalidReason, InvalidRecord
from lexiseg.data.folder_lists import stem_of
from lexiseg.data.image_files import PassedOver, list_images


class ListedRecord(NamedTuple):
    """An image and its captions.

    Attributes:
        shard: Where it lies, for messages.
        key: Name of the record.
        image: File of the image.
        captions: The captions as they were found, or the file that holds them.
    """

    shard: str
    key: str
    image: Path
    captions: Any


@dataclass(kw_only=True)
class FolderListing:
    """The records of a folder, and what does not fit together.

    Attributes:
        kind: Name of the layout.
        list_name: What broken captions are listed under.
        records: In no order.
        invalid: What has no image, no caption, or two of one.
        notes: What was not looked at.
    """

    kind: str
    list_name: str
    records: list[ListedRecord] = field(default_factory=list)
    invalid: list[InvalidRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mark(self, shard: str, names: Iterable[str], reason: InvalidReason, detail: str = "") -> None:
        """Note names as invalid for one reason."""
        self.invalid += [InvalidRecord(shard, name, reason, detail) for name in names]

    def images_by_stem(self, folder: Path, where: str) -> tuple[dict[str, Path], set[str]]:
        """Find images below a folder; stems that two images have are noted, and given second."""
        by_stem: dict[str, list[Path]] = defaultdict(list)
        passed_over = PassedOver()
        for file in list_images(folder, passed_over):
            by_stem[stem_of(file, folder)].append(file)
        if note := passed_over.note(where):
            self.notes.append(note)
        for stem, same in by_stem.items():
            if len(same) > 1:
                names = ", ".join(file.name for file in same)
                self.mark(where.rstrip("/"), [stem], InvalidReason.TWICE, names)
        single = {stem: same[0] for stem, same in by_stem.items() if len(same) == 1}
        return single, set(by_stem) - set(single)

    def join(self, images: Mapping[str, Path], captions: Mapping[str, Any], shard: str) -> None:
        """Join images and captions of one name; what has no partner is noted."""
        self.mark(shard, sorted(set(images) - set(captions)), InvalidReason.NO_CAPTION)
        self.mark(self.list_name, sorted(set(captions) - set(images)), InvalidReason.NO_IMAGE)
        both = sorted(set(images) & set(captions))
        self.records += [
            ListedRecord(shard, stem, images[stem], captions[stem]) for stem in both if captions[stem]
        ]
