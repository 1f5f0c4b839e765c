"""Stage three: the concepts that the neighbours' captions name, ranked.

It has three steps: find the concepts in the captions of the index, shard by shard; embed those that occur
("a photo of a …", without a full stop); build and rank the archive of every image, shard by shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.data.curation.concept_vocabulary import ConceptVocabulary, load_concepts
from lexiseg.data.curation.embed import EmbeddedImages
from lexiseg.data.curation.encoder import PairEncoder
from lexiseg.data.curation.manifests import claim_stage, read_stage
from lexiseg.data.curation.shard_files import map_arrays, need_pyarrow, shard_name, write_arrays, write_table
from lexiseg.data.curation.shard_stage import ShardStage
from lexiseg.ops.concept_ranking import ConceptLists, Ranking, rank_concepts
from lexiseg.ops.neighbours import unit_rows

#: What a concept is put into before it is embedded.
CONCEPT_PROMPT = "a photo of a {}"
_TEXTS = 256
#: Images ranked at once: the vectors of their neighbours are in memory.
_IMAGES = 512


def begin_ranking(
    folder: Path, vocabulary: ConceptVocabulary, *, plurals: bool, ranking: Ranking
) -> dict[str, Any]:
    """Write down what will be ranked; return what ``search`` was done with.

    Raises:
        InputError: The folder holds another ranking.
        DatasetError: ``search`` was not run.
    """
    searched = read_stage(folder, "search")
    settings = {
        "vocabulary": vocabulary.name,
        "vocabulary_fingerprint": vocabulary.fingerprint(),
        "plurals": plurals,
        "ranking": ranking,
        "search": searched,
    }
    claim_stage(folder, "rank", settings)
    return searched


def index_folder(folder: Path) -> Path:
    """Return the folder of the index that ``search`` searched."""
    index = read_stage(folder, "search")["index"]
    return folder if index is None else folder / index


@dataclass
class FindConcepts(ShardStage):
    """Find the concepts in the captions of one shard of the index after the other.

    Attributes:
        folder: The curation.
        vocabulary: What ``load_concepts`` takes.
        plurals: As there.
    """

    folder: Path
    vocabulary: str
    plurals: bool = True
    name: str = field(default="finding concepts in captions", init=False)

    @cached_property
    def concepts(self) -> ConceptVocabulary:
        """The vocabulary."""
        return load_concepts(self.vocabulary, plurals=self.plurals)

    @cached_property
    def index(self) -> EmbeddedImages:
        """The images of the index."""
        return EmbeddedImages(index_folder(self.folder))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("concepts", "index")}

    def shards(self) -> int:
        """Count the shards of the index."""
        return self.index.num_shards

    def target(self, number: int) -> Path:
        """Return the file of a shard's concepts."""
        return self.folder / "concepts" / shard_name(number, ".safetensors")

    def work(self, number: int) -> None:
        """Find the concepts of one shard."""
        found = [
            self.concepts.find(captions) for captions in self.index.names(number)["captions"].to_pylist()
        ]
        arrays: dict[str, np.ndarray] = {
            "sizes": np.array([len(each) for each in found], np.int64),
            "concepts": np.array([concept for each in found for concept in each], np.int32),
        }
        write_arrays(self.target(number), arrays, {"vocabulary": self.concepts.fingerprint()})


def embed_concepts(find: FindConcepts, encoder: PairEncoder) -> tuple[int, int]:
    """Join the concepts of all shards into one list, and embed those that occur.

    Args:
        find: All its shards are done.
        encoder: The one that embedded the images.

    Returns:
        How many concepts occur, and how many images of the index have none.

    Raises:
        InputError: It is another encoder.
        DatasetError: No caption names any concept.
    """
    facts = find.index.facts
    if encoder.fingerprint != facts["encoder_fingerprint"]:
        raise InputError(
            doing=f"embedding concepts for {find.folder}",
            found=f"the encoder {encoder.name} ({encoder.fingerprint[:12]}…)",
            expected=f"the one that embedded the images: {facts['encoder']} ({facts['encoder_fingerprint'][:12]}…)",
            fix=f"Its weights have changed: embed again, or restore {facts['encoder']}.",
        )
    shards: list[dict[str, np.ndarray]] = [
        map_arrays(find.target(number), stage="rank")[0] for number in range(find.shards())
    ]
    sizes = np.concatenate([shard["sizes"] for shard in shards])
    concepts = np.concatenate([shard["concepts"] for shard in shards])
    occurring, places = np.unique(concepts, return_inverse=True)
    if not len(occurring):
        raise DatasetError(
            doing=f"finding the concepts of {find.concepts.name} in the captions of {find.index.folder}",
            found=f"none of {len(find.concepts):,} concepts in the captions of {len(sizes):,} images",
            expected="captions that name some of them",
            fix="Are captions and vocabulary in the same language? Give your own words with --vocabulary FILE.",
        )
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    write_arrays(
        find.folder / "concepts.safetensors",
        {"offsets": offsets, "concepts": places.astype(np.int32), "numbers": occurring.astype(np.int32)},
        {"vocabulary": find.concepts.fingerprint()},
    )
    path = find.folder / "concept_vectors.safetensors"
    if not path.exists():
        prompts = [CONCEPT_PROMPT.replace("{}", find.concepts.concepts[number]) for number in occurring]
        vectors = [encoder.embed_texts(prompts[at : at + _TEXTS]) for at in range(0, len(prompts), _TEXTS)]
        write_arrays(path, {"vectors": np.concatenate(vectors)}, {"encoder_fingerprint": encoder.fingerprint})
    return len(occurring), int((sizes == 0).sum())


@dataclass
class RankShards(ShardStage):
    """Rank the concepts of one shard of images after the other.

    Attributes:
        folder: The curation; concepts are found and embedded.
        vocabulary: What ``load_concepts`` takes.
        plurals: As there.
        ranking: What to sort by.
    """

    folder: Path
    vocabulary: str
    plurals: bool = True
    ranking: Ranking = "guided"
    name: str = field(default="ranking concepts", init=False)

    @cached_property
    def images(self) -> EmbeddedImages:
        """The images."""
        return EmbeddedImages(self.folder)

    @cached_property
    def index(self) -> EmbeddedImages:
        """The images of the index."""
        return EmbeddedImages(index_folder(self.folder))

    @cached_property
    def named(self) -> tuple[ConceptLists, np.ndarray, Sequence[str]]:
        """Concepts of the index's captions, the vectors of concepts, and their names."""
        arrays, _ = map_arrays(self.folder / "concepts.safetensors", stage="rank")
        vectors, _ = map_arrays(self.folder / "concept_vectors.safetensors", stage="rank")
        words = load_concepts(self.vocabulary, plurals=self.plurals).concepts
        lists = ConceptLists(offsets=arrays["offsets"], concepts=arrays["concepts"])
        return lists, unit_rows(vectors["vectors"]), [words[number] for number in arrays["numbers"]]

    def __getstate__(self) -> dict[str, Any]:
        opened = ("images", "index", "named")
        return {name: value for name, value in vars(self).items() if name not in opened}

    def shards(self) -> int:
        """Count the shards."""
        return self.images.num_shards

    def target(self, number: int) -> Path:
        """Return the file of a shard's ranked concepts."""
        return self.folder / "ranked" / shard_name(number, ".parquet")

    def work(self, number: int) -> None:
        """Rank the concepts of one shard."""
        arrow = need_pyarrow(f"ranking the concepts of {self.folder}")
        found, _ = map_arrays(self.folder / "neighbours" / shard_name(number, ".safetensors"), stage="search")
        names = self.images.names(number)
        vectors = unit_rows(np.asarray(self.images.shard(number)))
        rows = np.array(found["rows"])
        is_own = self.folder.resolve() == index_folder(self.folder).resolve()
        own = self.images.starts[number] + np.arange(len(rows)) if is_own else np.full(len(rows), -1)
        lists, concept_vectors, words = self.named
        parts = []
        for first in range(0, len(rows), _IMAGES):
            part = slice(first, first + _IMAGES)
            near = unit_rows(self.index.take(rows[part].ravel())).reshape(*rows[part].shape, -1)
            given = vectors[part], own[part].astype(np.int64), rows[part], near, lists, concept_vectors
            parts.append(rank_concepts(*given, ranking=self.ranking))
        sizes = np.concatenate([np.diff(part.lists.offsets) for part in parts] or [np.empty(0, np.int64)])
        offsets = arrow.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
        dictionary = arrow.array(words, arrow.string())

        def listed(values: np.ndarray) -> Any:
            return arrow.ListArray.from_arrays(offsets, arrow.array(values))

        def joined(name: str, kind: type) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts] or [np.empty(0, kind)])

        concepts = np.concatenate([part.lists.concepts for part in parts] or [np.empty(0, np.int32)])
        ends = arrow.array((np.arange(len(rows) + 1) * rows.shape[1]).astype(np.int32))
        near_names = arrow.array(self.index.names_of(rows.ravel()) if rows.size else [], arrow.string())
        columns = {
            **{name: names[name].combine_chunks() for name in names.column_names},
            "neighbours": arrow.ListArray.from_arrays(ends, near_names),
            "similarities": arrow.ListArray.from_arrays(ends, arrow.array(found["similarities"].ravel())),
            "concepts": arrow.ListArray.from_arrays(offsets, dictionary.take(arrow.array(concepts))),
            "in_caption": listed(self._in_caption(number, own, concepts, sizes, words)),
            "sigma_a": listed(joined("sigma_a", np.float32)),
            "sigma_b": listed(joined("sigma_b", np.float32)),
            "scores": listed(joined("scores", np.float32)),
        }
        write_table(self.target(number), columns, row_group=ROWS_READ_TOGETHER)

    def _in_caption(
        self, number: int, own: np.ndarray, concepts: np.ndarray, sizes: np.ndarray, words: Sequence[str]
    ) -> np.ndarray:
        """Return which concepts of each archive the image's own captions name."""
        if len(own) and own[0] >= 0:
            lists = self.named[0]
            said = [lists[int(row)] for row in own]
        else:
            place_of = {word: place for place, word in enumerate(words)}
            known = load_concepts(self.vocabulary, plurals=self.plurals)
            said = [
                np.array(
                    [place_of.get(known.concepts[concept], -1) for concept in known.find(captions)], np.int32
                )
                for captions in self.images.names(number)["captions"].to_pylist()
            ]
        pairs = np.repeat(np.arange(len(sizes)), sizes) * len(words) + concepts
        owners = np.repeat(np.arange(len(said)), [len(each) for each in said])
        known_pairs = np.concatenate([*said, np.empty(0, np.int32)])
        return np.isin(pairs, (owners * len(words) + known_pairs)[known_pairs >= 0])


#: Rows of a row group of Parquet: what reading one row reads.
ROWS_READ_TOGETHER = 256
