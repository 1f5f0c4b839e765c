"""Records in plain files of a folder, whatever says which caption belongs to which image."""

import hashlib
from pathlib import Path

from lexiseg.data.captions.decoding import (
    MAX_CAPTION_BYTES,
    CaptionError,
    clean_captions,
    parse_json,
    parse_text,
)
from lexiseg.data.captions.folder_layouts import find_listing
from lexiseg.data.captions.folder_listing import ListedRecord
from lexiseg.data.captions.records import (
    CaptionColumns,
    CaptionSource,
    InvalidReason,
    InvalidRecord,
    RawRecord,
)
from lexiseg.data.labelled_dataset import add_to_digest


class FolderSource(CaptionSource):
    """Records of a folder, sorted by name; an image may have several captions.

    Unlike ``FolderDataset``, which refuses a folder that contradicts itself, this lists what is
    broken and gives the rest.

    Args:
        path: The folder, or a JSON file with COCO's captions.
        split: Name of a list of stems, e.g. ``"train"`` for train.txt, of a subfolder, or of COCO's part; None for all.
        columns: Names of columns of a metadata file, and of the caption in JSON.

    Raises:
        DatasetError: A part of the folder is missing, or it has no layout that is known.
    """

    def __init__(
        self,
        path: Path,
        split: str | None = None,
        columns: CaptionColumns = CaptionColumns(),  # noqa: B008
    ) -> None:
        self.path, self.columns = str(path), columns
        self.window = 1_000_000  # every image is a file of its own: no order reads better than another
        listing = find_listing(path, split, columns)
        self.kind, self.notes, invalid = listing.kind, listing.notes, listing.invalid
        self._records: list[ListedRecord] = []
        for record in sorted(listing.records, key=lambda record: record.key):
            if isinstance(record.captions, Path):
                self._records.append(record)
                continue
            try:
                self._records.append(record._replace(captions=clean_captions(record.captions)))
            except CaptionError as error:
                invalid.append(InvalidRecord(listing.list_name, record.key, error.reason, error.detail))
        self.sizes = [len(self._records)]
        self.files = [record.image for record in self._records]
        self.invalid = invalid

    def _read(self, index: int) -> RawRecord | InvalidRecord:
        """Read the image's file, and that of the caption where it has one."""
        shard, key, image, captions = self._records[index]
        if isinstance(captions, Path):
            try:
                captions = self._read_captions(captions)
            except CaptionError as error:
                return InvalidRecord(shard, key, error.reason, error.detail)
            except OSError as error:
                return InvalidRecord(shard, key, InvalidReason.NO_CAPTION, error.strerror or str(error))
        try:
            return RawRecord(shard, key, image.read_bytes(), captions)
        except OSError as error:
            return InvalidRecord(shard, key, InvalidReason.IMAGE, error.strerror or str(error))

    def _read_captions(self, file: Path) -> tuple[str, ...]:
        size = file.stat().st_size
        if size > MAX_CAPTION_BYTES:
            raise CaptionError(InvalidReason.LONG_CAPTION, f"a file of {size:,} bytes")
        is_json = file.suffix.lower() == ".json"
        return (
            parse_json(file.read_bytes(), self.columns.caption) if is_json else parse_text(file.read_bytes())
        )

    def fingerprint(self) -> str:
        """Hash names, captions (or sizes of their files) and sizes of images."""
        digest = hashlib.sha256()
        for _, key, image, captions in self._records:
            text = str(captions.stat().st_size) if isinstance(captions, Path) else "\0".join(captions)
            add_to_digest(digest, key.encode("utf-8", "surrogateescape"), text.encode())
            add_to_digest(digest, b"size", str(image.stat().st_size).encode())
        return digest.hexdigest()
