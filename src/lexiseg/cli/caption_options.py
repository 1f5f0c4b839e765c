"""Options of every command that opens images with captions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lexiseg.cli.options import option

if TYPE_CHECKING:
    from lexiseg.data.captions.records import CaptionColumns

CAPTION_PATHS = (
    "Tar shards or Parquet files, a pattern such as train-{0000..0099}.tar, a folder of them, or a folder of images "
    "with captions.tsv, metadata.csv, COCO's captions or a .txt beside each image."
)
PATHS = tyro.conf.arg(metavar="PATH …", help=CAPTION_PATHS, help_behavior_hint="")


def _column(text: str, short: str) -> Any:
    return tyro.conf.arg(metavar="NAME", help=text, help_behavior_hint="", aliases=(short,))


@dataclass(frozen=True, kw_only=True)
class CaptionFileOptions:
    """What the parts of a record are called, and which part of the data is read."""

    image_column: Annotated[
        str | None,
        _column(
            "Column of images or of their paths in Parquet or metadata.csv; usual ones are found.", "--image"
        ),
    ] = None
    caption_column: Annotated[
        str | None,
        _column("Column of captions there, or their key in .json; usual ones are found.", "--caption"),
    ] = None
    key_column: Annotated[
        str | None,
        _column(
            "Column of names of records; rows are numbered, or named by their image, if left out.", "--key"
        ),
    ] = None
    split: Annotated[
        str | None,
        option("NAME", "For a folder of images: only the stems of NAME.txt, or the subfolder NAME."),
    ] = None

    def columns(self) -> "CaptionColumns":
        """Return the names of parts."""
        from lexiseg.data.captions.records import CaptionColumns

        return CaptionColumns(image=self.image_column, caption=self.caption_column, key=self.key_column)
