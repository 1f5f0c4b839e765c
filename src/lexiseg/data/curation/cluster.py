"""Stage four: concepts of one meaning together, in the table that training reads."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lexiseg.data.curation.concept_vocabulary import load_concepts
from lexiseg.data.curation.embed import EmbeddedImages
from lexiseg.data.curation.manifests import claim_stage, read_stage
from lexiseg.data.curation.rank import ROWS_READ_TOGETHER
from lexiseg.data.curation.shard_files import map_arrays, need_pyarrow, read_table, shard_name, write_table
from lexiseg.data.curation.shard_stage import ShardStage
from lexiseg.ops.concept_ranking import ConceptLists
from lexiseg.ops.neighbours import unit_rows
from lexiseg.ops.small_kmeans import Distance, cluster_lists


@dataclass
class ClusterShards(ShardStage):
    """Cluster the concepts of one shard of images after the other: half as many clusters, rounded up.

    Attributes:
        folder: The curation; concepts are ranked.
        distance: Of k-means.
        seed: Of its beginnings.
    """

    folder: Path
    distance: Distance = "euclidean"
    seed: int = 0
    name: str = field(default="clustering concepts", init=False)

    @cached_property
    def num_shards(self) -> int:
        """Shards of the images."""
        return EmbeddedImages(self.folder).num_shards

    @cached_property
    def known(self) -> tuple[np.ndarray, dict[str, int]]:
        """Vectors of concepts, and the row of each name."""
        ranked = read_stage(self.folder, "rank")
        words = load_concepts(ranked["vocabulary"], plurals=ranked["plurals"]).concepts
        numbers = map_arrays(self.folder / "concepts.safetensors", stage="rank")[0]["numbers"]
        vectors = map_arrays(self.folder / "concept_vectors.safetensors", stage="rank")[0]["vectors"]
        return unit_rows(vectors), {words[number]: place for place, number in enumerate(numbers)}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "known"}

    def begin(self) -> None:
        """Write down what will be clustered.

        Raises:
            InputError: The folder holds other clusters.
            DatasetError: ``rank`` was not run.
        """
        settings = {"distance": self.distance, "seed": self.seed, "rank": read_stage(self.folder, "rank")}
        claim_stage(self.folder, "cluster", settings)

    def shards(self) -> int:
        """Count the shards."""
        return self.num_shards

    def target(self, number: int) -> Path:
        """Return the file of a shard's curated records."""
        return self.folder / "curated" / shard_name(number, ".parquet")

    def work(self, number: int) -> None:
        """Cluster one shard; images with one or two concepts have no clusters."""
        arrow = need_pyarrow(f"clustering the concepts of {self.folder}")
        table = read_table(self.folder / "ranked" / shard_name(number, ".parquet"), stage="rank")
        vectors, row_of = self.known
        column = table["concepts"].combine_chunks()
        words = column.values.dictionary_encode()
        rows = np.array([row_of[word] for word in words.dictionary.to_pylist()], np.int32)
        offsets = column.offsets.to_numpy().astype(np.int64)
        concepts = rows[words.indices.to_numpy()] if len(words) else np.empty(0, np.int32)
        lists = ConceptLists(offsets=offsets, concepts=concepts)
        clusters = cluster_lists(lists, vectors, distance=self.distance, seed=self.seed)
        few = np.diff(offsets) <= 2
        column = arrow.ListArray.from_arrays(column.offsets, arrow.array(clusters), mask=arrow.array(few))
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        write_table(self.target(number), {**columns, "clusters": column}, row_group=ROWS_READ_TOGETHER)
