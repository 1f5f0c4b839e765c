"""Curate captions: the four stages in order, each by itself too."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from lexiseg.core.errors import InputError
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.captions.records import CaptionColumns, CaptionSource
from lexiseg.data.curation.cluster import ClusterShards
from lexiseg.data.curation.concept_vocabulary import NOUNS, ConceptVocabulary, load_concepts
from lexiseg.data.curation.curated import CuratedImages
from lexiseg.data.curation.embed import SHARD_RECORDS, EmbeddedImages, EmbedShards, write_keys
from lexiseg.data.curation.manifests import OPENED, read_stage
from lexiseg.data.curation.rank import FindConcepts, RankShards, begin_ranking, embed_concepts, index_folder
from lexiseg.data.curation.search import SearchSettings, SearchShards
from lexiseg.data.curation.shard_stage import ShardStage
from lexiseg.data.curation.sheet import visible_classes, write_sheet
from lexiseg.ops.concept_ranking import Ranking
from lexiseg.ops.small_kmeans import Distance
from lexiseg.runs.bulk.job import Workers
from lexiseg.runs.bulk.stage import do_shards
from lexiseg.runs.own_model import is_own_model
from lexiseg.runs.pair_encoder import LoadedPairEncoder

#: Shows progress: from a text and a number of steps to what is called after each.
Bars = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


def no_bars(what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
    """Show nothing."""
    return nullcontext(lambda: None)


@dataclass(frozen=True, kw_only=True)
class CaptionPlace:
    """Where captions lie, and how they are opened.

    Attributes:
        paths: What ``open_caption_source`` takes.
        columns: Names of parts, where they are not usual ones.
        split: For a folder: name of a list of stems.
    """

    paths: tuple[str, ...]
    columns: CaptionColumns = field(default_factory=CaptionColumns)
    split: str | None = None

    def opener(self) -> Callable[[], CaptionSource]:
        """Return what opens them in any process."""
        return partial(open_caption_source, self.paths, columns=self.columns, split=self.split)


def open_curated_data(folder: Path) -> CaptionSource:
    """Open the captions that were curated in a folder."""
    opened = read_stage(folder, "embed")[OPENED]
    columns = CaptionColumns(**opened["columns"])
    return CaptionPlace(paths=tuple(opened["paths"]), columns=columns, split=opened["split"]).opener()()


def embed(
    place: CaptionPlace,
    folder: Path,
    *,
    encoder: str,
    device: str = "cpu",
    with_captions: bool = False,
    shard_records: int = SHARD_RECORDS,
    workers: Workers = Workers(),  # noqa: B008
    bars: Bars = no_bars,
) -> int:
    """Embed all images; records that cannot be read are left out and listed in ``vectors/*.invalid.jsonl``.

    Args:
        place: The captions.
        folder: The curation; made where it is missing.
        encoder: What ``lexiseg.load`` takes.
        device: Where it computes.
        with_captions: Embed captions too, for language-driven expansion.
        shard_records: Records of a shard.
        workers: Who does the shards.
        bars: Shows progress.

    Returns:
        How many images were embedded, in all runs.

    Raises:
        InputError: The folder holds something else, or the encoder has no space for images and sentences.
        DatasetError: Two records have one name.
    """
    if shard_records < 1:
        raise InputError(
            doing="embedding images",
            found=f"{shard_records} records a shard",
            expected="one or more",
            fix="Leave it out.",
        )
    load_encoder = partial(LoadedPairEncoder, encoder, device)
    stage = EmbedShards(folder, place.opener(), load_encoder, with_captions, shard_records)
    columns = asdict(place.columns)
    paths = [str(Path(path).absolute()) if Path(path).exists() else path for path in place.paths]
    stage.begin({OPENED: {"paths": paths, "columns": columns, "split": place.split}})
    _do(stage, workers, bars)
    images = EmbeddedImages(folder)
    if not (folder / "keys.safetensors").exists():
        write_keys(images)
    return len(images)


def search(
    folder: Path,
    *,
    index: Path | None = None,
    settings: SearchSettings = SearchSettings(),  # noqa: B008
    device: str = "cpu",
    workers: Workers = Workers(),  # noqa: B008
    bars: Bars = no_bars,
) -> tuple[int, float]:
    """Search the neighbours of all images.

    Args:
        folder: The curation.
        index: Another curation whose images are searched; None searches the images among themselves.
        settings: How.
        device: For the exact search.
        workers: Who does the shards.
        bars: Shows progress.

    Returns:
        Neighbours of each image, and the recall measured.

    Raises:
        InputError: The index was written by another encoder, or the folder holds another search.
    """
    stage = SearchShards(folder, index or folder, settings, device)
    count, recall = stage.begin()
    _do(stage, workers, bars)
    return count, recall


@dataclass(frozen=True, kw_only=True)
class RankingReport:
    """What a person should know of a ranking.

    Attributes:
        vocabulary: The concepts looked for.
        occurring: How many of them captions name.
        silent: Images of the index whose captions name none.
        indexed: Images of the index.
    """

    vocabulary: ConceptVocabulary
    occurring: int
    silent: int
    indexed: int


def rank(
    folder: Path,
    *,
    vocabulary: str = NOUNS,
    plurals: bool = True,
    ranking: Ranking = "guided",
    device: str = "cpu",
    workers: Workers = Workers(),  # noqa: B008
    bars: Bars = no_bars,
    trust: bool = False,
) -> RankingReport:
    """Find concepts in the captions of the index, and rank those of each image's neighbours.

    Args:
        folder: The curation, searched.
        vocabulary: What ``load_concepts`` takes.
        plurals: As there.
        ranking: What to sort by.
        device: Where concepts are embedded.
        workers: Who does the shards.
        bars: Shows progress.
        trust: Run the code of a model of a person's own that the index names.

    Raises:
        InputError: The folder holds another ranking, or the encoder has changed.
        DatasetError: No caption names any concept.
    """
    concepts = load_concepts(vocabulary, plurals=plurals)
    begin_ranking(folder, concepts, plurals=plurals, ranking=ranking)
    find = FindConcepts(folder, vocabulary, plurals)
    stage = RankShards(folder, vocabulary, plurals, ranking)
    _do(find, workers, bars)
    named = str(find.index.facts["encoder"])
    if is_own_model(named) and not trust:
        raise InputError(
            doing=f"ranking the concepts of {folder}",
            found=f"an index made by {named!r}: loading that model imports the module and runs its code",
            expected="a model of Lexiseg's own or a checkpoint, or your word that you trust the folder",
            fix="Call lexiseg.runs.curate.rank(…, trust=True), if the index is your own.",
        )
    encoder = LoadedPairEncoder(named, device)
    with bars("embedding concepts", 1) as advance:
        occurring, silent = embed_concepts(find, encoder)
        advance()
    _do(stage, workers, bars)
    return RankingReport(vocabulary=concepts, occurring=occurring, silent=silent, indexed=len(find.index))


def cluster(
    folder: Path,
    *,
    distance: Distance = "euclidean",
    seed: int = 0,
    workers: Workers = Workers(),  # noqa: B008
    bars: Bars = no_bars,
) -> int:
    """Cluster the concepts of all images, and write the table that training reads.

    Args:
        folder: The curation, ranked.
        distance: Of k-means.
        seed: Of its beginnings.
        workers: Who does the shards.
        bars: Shows progress.

    Returns:
        Images curated.
    """
    stage = ClusterShards(folder, distance, seed)
    stage.begin()
    _do(stage, workers, bars)
    return len(EmbeddedImages(folder))


def _do(stage: ShardStage, workers: Workers, bars: Bars) -> None:
    pending: Sequence[int] = stage.pending()
    with bars(stage.name, len(pending)) as advance:
        do_shards(stage, workers, advance=advance)


def show(folder: Path, name: str, out: Path) -> None:
    """Write a sheet of one curated image.

    Args:
        folder: The curation, finished.
        name: ``shard#key``, or the key alone where one image has it.
        out: HTML file to write.

    Raises:
        InputError: There is no such image.
        DatasetError: A stage is missing, or the data are not there any more.
    """
    row = CuratedImages(folder).whole(name)
    image = open_curated_data(folder)
    index = index_folder(folder)
    source = image if index == folder else open_curated_data(index)
    near = EmbeddedImages(index).find_names(row["neighbours"])
    neighbours = {each: (source, record, captions[0]) for each, (record, captions) in near.items()}
    write_sheet(out, row, image, neighbours, visible_classes(image, row["key"]))
