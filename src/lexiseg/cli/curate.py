"""``lexiseg curate``: what the captions of similar images say about an image, ranked, for training."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lexiseg.cli.caption_options import PATHS, CaptionFileOptions
from lexiseg.cli.options import Device, Licence, option, refuse_networks
from lexiseg.cli.progress import progress
from lexiseg.cli.worker_options import WorkerOptions

if TYPE_CHECKING:
    from lexiseg.runs.bulk.job import Workers
    from lexiseg.runs.curate import CaptionPlace, RankingReport

_FOLDER = tyro.conf.arg(metavar="FOLDER", help="The curation: what lexiseg curate embed made.")


def _setting(metavar: str, text: str) -> Any:
    """Describe an option that has a value: the help shows it."""
    return tyro.conf.arg(metavar=metavar, help=text)


_Redo = Annotated[
    bool,
    tyro.conf.arg(help="Remove what this stage and the later ones made before.", help_behavior_hint=""),
    tyro.conf.FlagCreatePairsOff,
]


@dataclass(frozen=True, kw_only=True)
class SourceOptions(CaptionFileOptions):
    """The captions, and the encoder."""

    paths: tyro.conf.Positional[Annotated[tuple[str, ...], PATHS]]
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="The curation to make, or to go on with.")]
    encoder: Annotated[
        str,
        tyro.conf.arg(
            metavar="NAME|ID|FOLDER",
            help="Any model with one space for images and sentences: CLIP, SigLIP, a run trained on captions, or mini.",
        ),
    ] = "mini"
    licence: Licence = "any"
    shard_records: Annotated[
        int, _setting("N", "Records of a shard: what a killed worker loses at most.")
    ] = 16_384

    def place(self) -> "CaptionPlace":
        """Return where the captions lie; refuse an encoder that --licence does."""
        from lexiseg.core.errors import InputError
        from lexiseg.runs.curate import CaptionPlace

        refuse_networks(self.encoder, self.licence, self.encoder)
        if not self.paths:
            raise InputError(
                doing="opening captions",
                found="no path",
                expected="one or more",
                fix="Name the data: lexiseg curate all shards/ --out curated",
            )
        return CaptionPlace(paths=self.paths, columns=self.columns(), split=self.split)


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How neighbours are found."""

    neighbours: Annotated[int, _setting("N", "Neighbours of each image; all where there are fewer.")] = 16
    expansion: Annotated[
        Literal["vision", "language"],
        _setting("vision|language", "Compare images with images, or (an ablation) images with captions."),
    ] = "vision"
    search: Annotated[
        Literal["exact", "ivf", "hnsw"],
        _setting("exact|ivf|hnsw", "Compare with every image, or by an index of faiss (extra: retrieval)."),
    ] = "exact"
    recall: Annotated[
        float, _setting("SHARE", "For ivf and hnsw: how many of the exact neighbours must be found.")
    ] = 0.95
    index: Annotated[
        Path | None,
        option("FOLDER", "Search the images of another curation; these among themselves if left out."),
    ] = None
    without_anchor: Annotated[
        bool,
        tyro.conf.arg(help="Do not let an image be its own first neighbour.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False


@dataclass(frozen=True, kw_only=True)
class RankOptions:
    """Which concepts are looked for, and how they are ranked."""

    vocabulary: Annotated[
        str,
        _setting(
            "nouns|wordnet|FILE",
            "Concepts: WordNet's concrete nouns with the class lists of the benchmarks, without them, or your own, "
            "one a line.",
        ),
    ] = "nouns"
    no_plurals: Annotated[
        bool,
        tyro.conf.arg(help="Do not add the plural of each concept.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    ranking: Annotated[
        Literal["guided", "naive"],
        _setting("guided|naive", "By both scores, or (an ablation) by similarity alone."),
    ] = "guided"


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """How concepts of one meaning are put together."""

    distance: Annotated[
        Literal["euclidean", "spherical"], _setting("euclidean|spherical", "Distance of k-means.")
    ] = "euclidean"
    seed: Annotated[int, _setting("SEED", "Of k-means.")] = 0


@dataclass(frozen=True, kw_only=True)
class EmbedCaptions(SourceOptions, WorkerOptions):
    """Embed all images (and, with --expansion language, captions) into shards on disk."""

    expansion: Annotated[
        Literal["vision", "language"],
        _setting("vision|language", "What the search will compare images with."),
    ] = "vision"
    device: Device = "auto"
    redo: _Redo = False

    def run(self) -> int:
        """Embed; return the exit code."""
        from lexiseg.runs.curate import embed

        place = self.place()
        _redo(self.redo, self.out, "embed")
        count = embed(
            place,
            self.out,
            encoder=self.encoder,
            device=_device(self.device),
            with_captions=self.expansion == "language",
            shard_records=self.shard_records,
            workers=self.chosen(),
            bars=progress,
        )
        _print_embedded(self.out, count)
        return 0


@dataclass(frozen=True, kw_only=True)
class SearchNeighbours(SearchOptions, WorkerOptions):
    """Find the nearest images of each image."""

    folder: tyro.conf.Positional[Annotated[Path, _FOLDER]]
    device: Device = "auto"
    redo: _Redo = False

    def run(self) -> int:
        """Search; return the exit code."""
        _redo(self.redo, self.folder, "search")
        _search(self, self.folder, self.device, self.chosen())
        return 0


@dataclass(frozen=True, kw_only=True)
class RankConcepts(RankOptions, WorkerOptions):
    """Rank the concepts that the captions of each image's neighbours name."""

    folder: tyro.conf.Positional[Annotated[Path, _FOLDER]]
    device: Device = "auto"
    redo: _Redo = False

    def run(self) -> int:
        """Rank; return the exit code."""
        _redo(self.redo, self.folder, "rank")
        _rank(self, self.folder, self.device, self.chosen())
        return 0


@dataclass(frozen=True, kw_only=True)
class ClusterConcepts(ClusterOptions, WorkerOptions):
    """Put concepts of one meaning together, and write the Parquet table that training reads."""

    folder: tyro.conf.Positional[Annotated[Path, _FOLDER]]
    redo: _Redo = False

    def run(self) -> int:
        """Cluster; return the exit code."""
        _redo(self.redo, self.folder, "cluster")
        _cluster(self, self.folder, self.chosen())
        return 0


@dataclass(frozen=True, kw_only=True)
class CurateAll(SourceOptions, SearchOptions, RankOptions, ClusterOptions, WorkerOptions):
    """All four stages: embed, search, rank, cluster. What is finished is kept."""

    device: Device = "auto"
    redo: _Redo = False

    def run(self) -> int:
        """Curate; return the exit code."""
        from lexiseg.runs.curate import embed

        place, workers = self.place(), self.chosen()
        _redo(self.redo, self.out, "embed")
        count = embed(
            place,
            self.out,
            encoder=self.encoder,
            device=_device(self.device),
            with_captions=self.expansion == "language" and self.index is None,
            shard_records=self.shard_records,
            workers=workers,
            bars=progress,
        )
        _print_embedded(self.out, count)
        _search(self, self.out, self.device, workers)
        _rank(self, self.out, self.device, workers)
        _cluster(self, self.out, workers)
        return 0


@dataclass(frozen=True, kw_only=True)
class ShowImage:
    """Write a sheet of one image: caption, neighbours and their captions, ranked concepts, what the caption misses."""

    folder: tyro.conf.Positional[Annotated[Path, _FOLDER]]
    image: tyro.conf.Positional[
        Annotated[str, tyro.conf.arg(metavar="IMAGE", help="Its name: shard#key, or the key alone.")]
    ]
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", help="The HTML file to write.")] = Path("curated.html")

    def run(self) -> int:
        """Write; return the exit code."""
        from lexiseg.runs.curate import show

        show(self.folder, self.image, self.out)
        print(f"sheet written to {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Curate:
    """Curate captions: find what the captions of similar images say about each image."""

    action: (
        Annotated[CurateAll, tyro.conf.subcommand("all", prefix_name=False)]
        | Annotated[EmbedCaptions, tyro.conf.subcommand("embed", prefix_name=False)]
        | Annotated[SearchNeighbours, tyro.conf.subcommand("search", prefix_name=False)]
        | Annotated[RankConcepts, tyro.conf.subcommand("rank", prefix_name=False)]
        | Annotated[ClusterConcepts, tyro.conf.subcommand("cluster", prefix_name=False)]
        | Annotated[ShowImage, tyro.conf.subcommand("show", prefix_name=False)]
    )

    def run(self) -> int:
        """Do it; return the exit code."""
        return self.action.run()


def _search(options: SearchOptions, folder: Path, device: str, workers: "Workers") -> None:
    from lexiseg.data.curation.search import SearchSettings
    from lexiseg.runs.curate import search

    settings = SearchSettings(
        neighbours=options.neighbours,
        expansion=options.expansion,
        keep_anchor=not options.without_anchor,
        search=options.search,
        recall=options.recall,
    )
    count, recall = search(
        folder, index=options.index, settings=settings, device=_device(device), workers=workers, bars=progress
    )
    if count < options.neighbours:
        print(f"note: the index has only {count} images for each, not {options.neighbours}", file=sys.stderr)
    found = "" if options.search == "exact" else f", {recall:.1%} of the exact ones"
    print(f"{count} neighbours of each image ({options.search}{found})")


def _rank(options: RankOptions, folder: Path, device: str, workers: "Workers") -> None:
    from lexiseg.runs.curate import rank

    report = rank(
        folder,
        vocabulary=options.vocabulary,
        plurals=not options.no_plurals,
        ranking=options.ranking,
        device=_device(device),
        workers=workers,
        bars=progress,
    )
    _print_ranking(report)


def _cluster(options: ClusterOptions, folder: Path, workers: "Workers") -> None:
    from lexiseg.runs.curate import cluster

    count = cluster(folder, distance=options.distance, seed=options.seed, workers=workers, bars=progress)
    print(f"{count:,} images curated: {folder / 'curated'}/*.parquet")


def _print_embedded(folder: Path, count: int) -> None:
    from lexiseg.data.captions.invalid_records import read_invalid_records

    print(f"{count:,} images embedded in {folder}")
    invalid = read_invalid_records(folder / "vectors")
    if invalid:
        print(
            f"{len(invalid):,} records left out ({invalid[0].shard}#{invalid[0].key}: {invalid[0].reason.value}, …); "
            f"listed in {folder / 'vectors'}/*.invalid.jsonl",
            file=sys.stderr,
        )


def _print_ranking(report: "RankingReport") -> None:
    vocabulary = report.vocabulary
    print(
        f"{report.occurring:,} of {len(vocabulary):,} concepts occur in captions; "
        f"{report.silent:,} of {report.indexed:,} captions name none"
    )
    if vocabulary.too_long:
        print(
            f"note: {len(vocabulary.too_long):,} concepts of more than four words are never found, such as "
            f"{vocabulary.too_long[0]!r}",
            file=sys.stderr,
        )
    leak = ", ".join(f"{name} {known}/{of}" for name, (known, of) in sorted(vocabulary.leak().items()))
    print(f"classes of benchmarks that the vocabulary names: {leak}")


def _device(device: str) -> str:
    from lexiseg.engine.devices import choose_device

    return str(choose_device(device))


def _redo(redo: bool, folder: Path, stage: str) -> None:
    if redo:
        from lexiseg.data.curation.manifests import drop_stages

        drop_stages(folder, stage)
