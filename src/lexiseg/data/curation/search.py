"""Stage two: for every image, the nearest images (or captions) of an index."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lexiseg.core.errors import InputError
from lexiseg.data.curation.embed import EmbeddedImages
from lexiseg.data.curation.manifests import claim_stage
from lexiseg.data.curation.shard_files import shard_name, write_arrays
from lexiseg.data.curation.shard_stage import ShardStage
from lexiseg.ops.neighbours import ExactSearch, Neighbours, NeighbourSearch
from lexiseg.ops.neighbours_faiss import FaissSearch, build_faiss, sample_rows

#: By the image itself, or (the paper's ablation) straight from the image to captions.
Expansion = Literal["vision", "language"]
SearchKind = Literal["exact", "ivf", "hnsw"]

#: What of the index is compared with the images.
COMPARED: dict[Expansion, str] = {"vision": "vectors", "language": "captions"}


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How neighbours are searched.

    Attributes:
        neighbours: How many each image has; all where the index is smaller.
        expansion: What is compared.
        keep_anchor: Whether an image that is in the index is its own first neighbour, as in the released code; the
            concepts of its own caption are always in its archive then.
        search: Exact, or by an index of faiss.
        recall: For faiss: how many of the exact neighbours are found, on average.
        seed: Of faiss's k-means.
    """

    neighbours: int = 16
    expansion: Expansion = "vision"
    keep_anchor: bool = True
    search: SearchKind = "exact"
    recall: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.neighbours < 1 or not 0 < self.recall <= 1 or self.seed < 0:
            raise InputError(
                doing="searching neighbours",
                found=f"neighbours={self.neighbours}, recall={self.recall:g}, seed={self.seed}",
                expected="one neighbour or more, a recall above 0 and at most 1, a seed of 0 or more",
                fix="Change the one that is not; 16 neighbours are the paper's choice.",
            )


@dataclass
class SearchShards(ShardStage):
    """Search the neighbours of one shard of images after the other.

    Attributes:
        folder: The curation.
        index_folder: The curation whose images are searched; may be the same.
        settings: How.
        device: For the exact search.
        width: For faiss: how far a query looks; ``begin`` finds it.
    """

    folder: Path
    index_folder: Path
    settings: SearchSettings
    device: str = "cpu"
    width: int = 1
    name: str = field(default="searching neighbours", init=False)

    @cached_property
    def images(self) -> EmbeddedImages:
        """The images whose neighbours are searched."""
        return EmbeddedImages(self.folder)

    @cached_property
    def search(self) -> NeighbourSearch:
        """What finds neighbours, opened in each process."""
        index = EmbeddedImages(self.index_folder, COMPARED[self.settings.expansion])
        if self.settings.search == "exact":
            return ExactSearch(index, device=self.device)
        return FaissSearch(index, self.settings.search, self.folder / "index.faiss", width=self.width)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("images", "search")}

    @property
    def is_own_index(self) -> bool:
        """Return whether the images are searched among themselves: row numbers are the same then."""
        return self.folder.resolve() == self.index_folder.resolve()

    def begin(self) -> tuple[int, float]:
        """Check that images and index fit, build the index of faiss, and write down what will be searched.

        Returns:
            Neighbours that each image gets, and the recall measured (1 for the exact search).

        Raises:
            InputError: The index was written by another encoder, or the folder holds another search.
        """
        index = EmbeddedImages(self.index_folder, COMPARED[self.settings.expansion])
        if index.facts["encoder_fingerprint"] != self.images.facts["encoder_fingerprint"]:
            raise InputError(
                doing=f"searching the images of {self.folder} in {self.index_folder}",
                found=f"an index written by {index.facts['encoder']} ({index.facts['encoder_fingerprint'][:12]}…)",
                expected=f"one written by {self.images.facts['encoder']} "
                f"({self.images.facts['encoder_fingerprint'][:12]}…), as the images were",
                fix=f"Embed the index again: lexiseg curate embed … --encoder {self.images.facts['encoder']}.",
            )
        held_back = 0 if self.settings.keep_anchor or not self.is_own_index else 1
        count = min(self.settings.neighbours, len(index) - held_back)
        if count < 1:
            raise InputError(
                doing=f"searching neighbours in {self.index_folder}",
                found=f"an index of {len(index)} images",
                expected="one image besides the anchor or more",
                fix="Curate more images, or let an image be its own neighbour.",
            )
        claim_stage(
            self.folder,
            "search",
            {
                "neighbours": count,
                "expansion": self.settings.expansion,
                "keep_anchor": self.settings.keep_anchor,
                "search": self.settings.search,
                "recall": None if self.settings.search == "exact" else self.settings.recall,
                "seed": self.settings.seed,
                "index": None if self.is_own_index else os.path.relpath(self.index_folder, self.folder),
                "index_data": index.facts["data_fingerprint"],
                "encoder_fingerprint": index.facts["encoder_fingerprint"],
            },
        )
        if self.settings.search == "exact":
            return count, 1.0
        path = self.folder / "index.faiss"
        if not path.exists():
            build_faiss(index, self.settings.search, path, seed=self.settings.seed)
        search = FaissSearch(index, self.settings.search, path)
        reached = search.widen(self.images.take(sample_rows(len(self.images))), count, self.settings.recall)
        self.width = search.width
        return count, reached

    def shards(self) -> int:
        """Count the shards."""
        return self.images.num_shards

    def target(self, number: int) -> Path:
        """Return the file of a shard's neighbours."""
        return self.folder / "neighbours" / shard_name(number, ".safetensors")

    def work(self, number: int) -> None:
        """Search the neighbours of one shard."""
        queries = np.asarray(self.images.shard(number))
        own = self.images.starts[number] + np.arange(len(queries)) if self.is_own_index else None
        drop = own is not None and not self.settings.keep_anchor
        count = min(self.settings.neighbours, len(self.search.index) - drop)
        if len(queries):
            found = self.search.search(queries, count + drop)
        else:
            found = Neighbours(
                rows=np.empty((0, count), np.int64), similarities=np.empty((0, count), np.float32)
            )
        rows, similarities = found.rows, found.similarities
        if drop and len(queries):
            assert own is not None
            others = rows != own[:, None]
            others[others.all(axis=1), -1] = False  # it was not among its own: the last one gives way
            rows = rows[others].reshape(len(rows), count)
            similarities = similarities[others].reshape(len(rows), count)
        write_arrays(self.target(number), {"rows": rows.astype(np.int64), "similarities": similarities}, {})
