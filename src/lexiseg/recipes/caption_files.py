"""What recipes that train on a person's own images with captions have in common."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lexiseg.data.captions.opening import open_captions
from lexiseg.data.captions.records import CaptionColumns
from lexiseg.data.stepwise import TrainingData
from lexiseg.models.text_tokens import CaptionTokenizer
from lexiseg.recipes.base import Recipe

_MAX_TOKENS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class TryTokens:
    """Turns a sentence into token ids to see whether that works; crosses process borders."""

    tokenizer: CaptionTokenizer

    def __call__(self, text: str) -> object:
        """Return the ids, or raise what the tokenizer raises."""
        return self.tokenizer.ids([text], _MAX_TOKENS)


@dataclass(frozen=True, kw_only=True)
class CaptionFilesRecipe(Recipe):
    """Train on images with captions: a folder, tar shards or Parquet files.

    Attributes:
        captions: Path of the images with captions.
        split: Name of a list or a subfolder: of a folder of images only those that ``SPLIT.txt`` lists, such as train.
        image_column: Name of the column of images in Parquet or metadata.csv; none looks for a usual one.
        caption_column: Name of the column of captions, or of their key in JSON; none looks for a usual one.
        key_column: Name of the column with names of records; none numbers them, or takes the image's name.
        max_invalid: Share of invalid records at which the run stops, in [0, 1], of those that cannot be opened and
            those that cannot be read together; fewer are left out and listed in ``broken/``.
    """

    captions: Path = Path("captions")
    split: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    key_column: str | None = None
    max_invalid: float = 0.2

    @abstractmethod
    def build_tokenizer(self) -> CaptionTokenizer:
        """Build what turns sentences into token ids."""

    def open_files(self, **settings: Any) -> TrainingData:
        """Open the captions, each of which the tokenizer has to read.

        Args:
            **settings: What ``open_captions`` takes beside the path.

        Raises:
            DatasetError: They cannot be used.
        """
        return open_captions(
            self.captions,
            batch_size=self.run.batch_size,
            seed=self.run.seed,
            split=self.split,
            columns=CaptionColumns(image=self.image_column, caption=self.caption_column, key=self.key_column),
            max_invalid=self.max_invalid,
            try_text=TryTokens(tokenizer=self.build_tokenizer()),
            **settings,
        )
