"""Records in a plain folder: images/ and captions.tsv, as in ``data.folder``; classes.txt is not needed."""

import hashlib
from collections import defaultdict
from pathlib import Path

from lexiseg.core.file_names import name_key
from lexiseg.data.captions.decoding import CaptionError, clean_captions
from lexiseg.data.captions.records import CaptionSource, InvalidReason, InvalidRecord, RawRecord
from lexiseg.data.folder_lists import folder_error, read_split, stem_of
from lexiseg.data.image_files import PassedOver, list_images
from lexiseg.data.labelled_dataset import add_to_digest

_IMAGES, _LIST = "images", "captions.tsv"


class FolderSource(CaptionSource):
    """Records of a folder, sorted by stem; an image may have several captions.

    Unlike ``FolderDataset``, which refuses a folder that contradicts itself, this lists what is
    broken and gives the rest.

    Args:
        path: The folder.
        split: Name of a list of stems, e.g. ``"train"`` for train.txt; None for all.

    Raises:
        DatasetError: A part of the folder is missing.
    """

    kind = "folder"

    def __init__(self, path: Path, split: str | None = None) -> None:
        self.path = str(path)
        self.window = 1_000_000  # every image is a file of its own: no order reads better than another
        self._invalid: list[InvalidRecord] = []
        self.notes = []
        captions = self._read_list(path)
        images, doubled = self._find_images(path)
        captions = {stem: texts for stem, texts in captions.items() if stem not in doubled}
        if split is not None:
            stems = set(read_split(path, split))
            self._mark(_LIST, sorted(stems - set(images)), InvalidReason.NO_IMAGE, f"a stem of {split}.txt")
            images = {stem: file for stem, file in images.items() if stem in stems}
            captions = {stem: texts for stem, texts in captions.items() if stem in stems}
        self._mark(_IMAGES, sorted(set(images) - set(captions)), InvalidReason.NO_CAPTION)
        self._mark(_LIST, sorted(set(captions) - set(images)), InvalidReason.NO_IMAGE)
        self._records: list[tuple[str, Path, tuple[str, ...]]] = []
        for stem in sorted(set(images) & set(captions)):
            if not captions[stem]:
                continue  # its only lines are listed as not UTF-8
            try:
                self._records.append((stem, images[stem], clean_captions(captions[stem])))
            except CaptionError as error:
                self._invalid.append(InvalidRecord(_LIST, stem, error.reason, error.detail))
        self.sizes = [len(self._records)]
        self.files = [file for _, file, _ in self._records]
        self.invalid = self._invalid

    def read(self, index: int) -> RawRecord | InvalidRecord:
        """Read the image's file."""
        stem, file, captions = self._records[index]
        try:
            return RawRecord(_IMAGES, stem, file.read_bytes(), captions)
        except OSError as error:
            return InvalidRecord(_IMAGES, stem, InvalidReason.IMAGE, error.strerror or str(error))

    def fingerprint(self) -> str:
        """Hash stems, captions and sizes of files."""
        digest = hashlib.sha256()
        for stem, file, captions in self._records:
            add_to_digest(digest, stem.encode("utf-8", "surrogateescape"), "\0".join(captions).encode())
            add_to_digest(digest, b"size", str(file.stat().st_size).encode())
        return digest.hexdigest()

    def _mark(self, shard: str, stems: list[str], reason: InvalidReason, detail: str = "") -> None:
        self._invalid += [InvalidRecord(shard, stem, reason, detail) for stem in stems]

    def _find_images(self, path: Path) -> tuple[dict[str, Path], set[str]]:
        folder = path / _IMAGES
        if not folder.is_dir():
            fix = "Put the images there (jpg, png or webp)."
            raise folder_error(path, "no folder images/", "images in images/", fix)
        by_stem: dict[str, list[Path]] = defaultdict(list)
        passed_over = PassedOver()
        for file in list_images(folder, passed_over):
            by_stem[stem_of(file, folder)].append(file)
        if note := passed_over.note(f"{_IMAGES}/"):
            self.notes.append(note)
        for stem, same in by_stem.items():
            if len(same) > 1:
                names = ", ".join(file.name for file in same)
                self._invalid.append(InvalidRecord(_IMAGES, stem, InvalidReason.TWICE, names))
        single = {stem: same[0] for stem, same in by_stem.items() if len(same) == 1}
        return single, set(by_stem) - set(single)

    def _read_list(self, path: Path) -> dict[str, list[str]]:
        """Read captions.tsv line by line: one bad line must not cost the others."""
        try:
            content = (path / _LIST).read_bytes().removeprefix(b"\xef\xbb\xbf")
        except OSError as error:
            found = f"no readable {_LIST} ({error.strerror})"
            fix = "Write it: the name of an image without .jpg, a tab, a caption; one caption a line."
            raise folder_error(path, found, "captions by image stem", fix) from error
        captions: dict[str, list[str]] = defaultdict(list)
        for number, line in enumerate(content.split(b"\n"), 1):
            if not line.strip():
                continue
            stem, tab, text = line.partition(b"\t")
            name = name_key(stem.decode("utf-8", "replace").strip())
            if not tab:
                self._mark(_LIST, [f"line {number}"], InvalidReason.NO_CAPTION, f"no tab in {name[:60]!r}")
                continue
            try:
                captions[name].append(text.decode())
            except UnicodeDecodeError:
                self._mark(_LIST, [f"{name} (line {number})"], InvalidReason.NOT_UTF8)
                captions.setdefault(name, [])
        return captions


def is_caption_folder(path: Path) -> bool:
    """Return whether a folder has the layout: images/ or captions.tsv."""
    return (path / _IMAGES).is_dir() or (path / _LIST).is_file()
