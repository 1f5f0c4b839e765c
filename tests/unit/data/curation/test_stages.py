import os
import pickle
import shutil
import signal
from itertools import pairwise

import numpy as np
import pyarrow.dataset
import pytest

from caption_files import image_bytes, write_parquet
from curation_toys import (
    ToyEncoder,
    cluster_all,
    contents,
    curate,
    embed_all,
    embed_shards,
    rank_all,
    run_stage,
    search_all,
    write_images,
    write_words,
)
from lexiseg.core.atomic_write import _PREFIX
from lexiseg.core.errors import DatasetError, InputError, LexisegError
from lexiseg.data.captions.invalid_records import read_invalid_records
from lexiseg.data.curation.cluster import ClusterShards
from lexiseg.data.curation.curated import CuratedImages
from lexiseg.data.curation.embed import EmbeddedImages, write_keys
from lexiseg.data.curation.manifests import OPENED, drop_stages
from lexiseg.data.curation.rank import FindConcepts, RankShards
from lexiseg.data.curation.search import SearchSettings, SearchShards
from lexiseg.data.curation.shard_files import map_arrays, read_table


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "images", 21, same=(3, 12))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def finished(data, words, tmp_path_factory):
    """A whole curation in three shards; not to be changed."""
    out = tmp_path_factory.mktemp("curation")
    curate(data, out, words)
    return out


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "curation")


def test_the_table_has_one_row_an_image_and_pandas_reads_it(finished):
    pandas = pytest.importorskip("pandas")
    table = pandas.concat(
        pandas.read_parquet(file) for file in sorted((finished / "curated").glob("*.parquet"))
    )
    assert list(table.columns) == [
        "record", "shard", "key", "captions", "neighbours", "similarities",
        "concepts", "in_caption", "sigma_a", "sigma_b", "scores", "clusters",
    ]  # fmt: skip
    assert table["key"].tolist() == [f"{number:03d}" for number in range(21)]
    for row in table.itertuples():
        sizes = {
            len(getattr(row, name)) for name in ("concepts", "in_caption", "sigma_a", "sigma_b", "scores")
        }
        assert len(sizes) == 1
        assert len(row.neighbours) == len(row.similarities) == 4
        assert (row.clusters is None) == (len(row.concepts) <= 2)
        np.testing.assert_allclose(row.scores, row.sigma_a + row.sigma_b, rtol=1e-5)


def test_other_tools_open_the_folder_as_one_table(finished):
    """DuckDB where it is installed, else Arrow's own reader of folders."""
    try:
        import duckdb
    except ImportError:
        keys = pyarrow.dataset.dataset(finished / "curated", format="parquet").to_table()["key"]
        assert (len(keys), len(keys.unique())) == (21, 21)
    else:
        query = f"select count(*), count(distinct key) from '{finished / 'curated'}/*.parquet'"
        assert duckdb.sql(query).fetchall() == [(21, 21)]


def test_identical_images_return_each_other_first(finished):
    rows = map_arrays(finished / "neighbours" / "00000.safetensors", stage="search")[0]["rows"]
    assert rows[3, :2].tolist() == [3, 12]
    assert rows[[0, 1, 2, 4, 5, 6, 7], 0].tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert map_arrays(finished / "neighbours" / "00001.safetensors", stage="search")[0]["rows"][
        4, :2
    ].tolist() == [3, 12]


def test_one_neighbour_gives_the_captions_own_concepts(data, words, tmp_path):
    curated = curate(data, tmp_path, words, neighbours=1)
    find = FindConcepts(tmp_path, words).concepts
    for record in curated:
        if record.name != "images#012":  # its twin comes first
            assert set(record.concepts) == {find.concepts[n] for n in find.find(record.captions)}


def test_archives_grow_with_the_number_of_neighbours(data, words, tmp_path):
    archives = [
        [set(record.concepts) for record in curate(data, tmp_path / str(n), words, neighbours=n)]
        for n in (1, 3, 8)
    ]
    for few, more in pairwise(archives):
        assert all(a <= b for a, b in zip(few, more, strict=True))
        assert few != more


def test_a_retrieved_caption_without_a_concept_adds_nothing(finished):
    record = CuratedImages(finished).whole("002")
    assert record["captions"] == ["nothing to see"]
    assert not any(record["in_caption"])


def test_without_the_anchor_an_image_is_not_its_own_neighbour(data, tmp_path):
    embed_all(data, tmp_path)
    search_all(tmp_path, keep_anchor=False)
    rows = np.concatenate(
        [map_arrays(file, stage="search")[0]["rows"] for file in sorted((tmp_path / "neighbours").iterdir())]
    )
    assert rows.shape == (21, 4)
    assert not (rows == np.arange(21)[:, None]).any()
    assert rows[3, 0] == 12


def test_language_driven_expansion_compares_images_with_captions(data, words, tmp_path):
    images = embed_all(data, tmp_path, captions=True)
    search_all(tmp_path, expansion="language")
    captions = EmbeddedImages(tmp_path, "captions")
    rows = map_arrays(tmp_path / "neighbours" / "00000.safetensors", stage="search")[0]["rows"]
    cosines = np.float64(images.block(0, 8)) @ np.float64(captions.block(0, 21)).T
    for image in range(8):
        assert set(np.round(cosines[image, rows[image]], 4)) == set(np.round(np.sort(cosines[image])[-4:], 4))
    rank_all(tmp_path, words, ranking="naive")
    assert len(cluster_all(tmp_path)) == 21


def test_an_index_of_other_images_is_searched(data, words, tmp_path):
    embed_all(data, tmp_path / "index")
    other = write_images(tmp_path / "few", 5)
    embed_all(other, tmp_path / "curation")
    search_all(tmp_path / "curation", tmp_path / "index")
    rank_all(tmp_path / "curation", words)
    curated = cluster_all(tmp_path / "curation")
    row = curated.whole("004")
    assert row["neighbours"][0] == "images#004"  # the same image is in the index
    said = {concept for concept, here in zip(row["concepts"], row["in_caption"], strict=True) if here}
    assert said == {"grass", "sky", "dirt road", "road"}


def test_records_are_found_by_name_whatever_is_read_before_and_in_other_processes(finished):
    curated = pickle.loads(pickle.dumps(CuratedImages(finished)))
    for row in (20, 3, 8, 7, 0):
        assert curated.find(f"images#{row:03d}").row == row
    assert curated.find("images#999") is None
    record = curated.find("images#003")
    assert record.captions == ("a dog near a car",)
    assert {"dog", "car"} <= set(record.concepts)
    assert len(record.scores) == len(record.concepts)
    assert [each.row for each in curated] == list(range(21))


def test_reading_changes_nothing(finished):
    before = contents(finished)
    curated = CuratedImages(finished)
    for record in curated:
        curated.find(record.name)
    assert contents(finished) == before


def test_an_unknown_image_is_named_with_some_that_are_there(finished):
    with pytest.raises(
        InputError, match=r"'cat'.*no image of that name; expected the name of one, such as images#000"
    ):
        CuratedImages(finished).whole("cat")


@pytest.mark.parametrize("stage", ["embed", "search", "rank", "cluster"])
def test_what_is_missing_is_done_again_and_only_that(copied, data, words, stage):
    whole = contents(copied)
    folder = {"embed": "vectors", "search": "neighbours", "rank": "ranked", "cluster": "curated"}[stage]
    files = sorted(f for f in (copied / folder).iterdir() if f.suffix != ".arrow")
    files[1].unlink()
    (copied / folder / f"{_PREFIX}00002.parquet").write_text("left by a killed process")
    kept = files[0].stat().st_mtime_ns
    curate(data, copied, words)
    assert contents(copied) == whole
    assert files[0].stat().st_mtime_ns == kept


def _curate_and_die(data, out, words, writes):
    """Curate in a process that kills itself instead of giving a file its name for the ``writes``-th time."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    replace, count = os.replace, 0

    def deadly(*names):
        nonlocal count
        count += 1
        if count == writes:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)

    os.replace = deadly
    try:
        curate(data, out, words)
    finally:
        os._exit(0)


@pytest.mark.exhaustive
def test_killed_at_any_write_the_same_command_ends_with_the_same_bytes(data, words, finished, tmp_path):
    whole = contents(finished)
    writes = [1, 2, 5, 8, 9, 10, 12, 14, 17, 18, 20, 23, 25]
    assert [_curate_and_die(data, tmp_path / str(n), words, n) for n in writes] == [-signal.SIGKILL] * len(
        writes
    )
    for n in writes:
        out = tmp_path / str(n)
        assert contents(out) != whole
        curate(data, out, words)
        assert {**contents(out), "embed.json": b""} == {
            **whole,
            "embed.json": b"",
        }  # it says where the data lie


def _again(name, out, words):
    """Do what reads a file."""
    if name.startswith("vectors"):
        EmbeddedImages(out).names(1)
    elif name.startswith("neighbours"):
        run_stage(RankShards(out, words))
    elif name.startswith("ranked"):
        run_stage(ClusterShards(out))
    else:
        CuratedImages(out).find("images#009")


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("vectors/00001.safetensors", None),
        ("vectors/00001.arrow", None),
        ("neighbours/00001.safetensors", "ranked/00001.parquet"),
        ("ranked/00001.parquet", "curated/00001.parquet"),
        ("curated/00001.parquet", None),
    ],
)
def test_half_a_file_is_named_with_what_to_do(copied, words, name, reader):
    path = copied / name
    whole = path.read_bytes()
    if reader is not None:
        (copied / reader).unlink()
    for half in (whole[: len(whole) // 2], whole[:-1], b""):
        path.write_bytes(half)
        with pytest.raises(
            DatasetError, match=r"Delete it and run the same lexiseg curate .* again"
        ) as error:
            _again(name, copied, words)
        assert str(path) in str(error.value)


def _no_such_shard(out, data, words):
    (out / "vectors/00001.safetensors").unlink()
    EmbeddedImages(out)


def _no_such_curated_shard(out, data, words):
    (out / "curated/00002.parquet").unlink()
    CuratedImages(out)


def _another_encoder_in_one_shard(out, data, words):
    other = out.parent / "other"
    embed_all(data, other, fingerprint="another")
    shutil.copy(other / "vectors/00001.safetensors", out / "vectors/00001.safetensors")
    EmbeddedImages(out)


def _an_index_of_another_encoder(out, data, words):
    embed_all(data, out.parent / "other", fingerprint="another")
    SearchShards(out, out.parent / "other", SearchSettings()).begin()


def _concepts_by_another_encoder(out, data, words):
    drop_stages(out, "rank")
    rank_all(out, words, fingerprint="another")


def _a_vocabulary_without_any_hit(out, data, words):
    drop_stages(out, "rank")
    rank_all(out, write_words(out.parent / "strange", ["submarine", "yurt"]))


def _other_settings(out, data, words):
    search_all(out, neighbours=5)


def _another_encoder_at_the_same_folder(out, data, words):
    embed_shards(data, out, fingerprint="another").begin({})


def _language_without_caption_vectors(out, data, words):
    SearchShards(out, out, SearchSettings(expansion="language")).begin()


def _search_before_embed(out, data, words):
    SearchShards(out.parent / "empty", out.parent / "empty", SearchSettings()).begin()


def _cluster_before_rank(out, data, words):
    drop_stages(out, "rank")
    ClusterShards(out).begin()


def _a_damaged_manifest(out, data, words):
    (out / "search.json").write_text('{"neighbours": ')
    rank_all(out, words)


@pytest.mark.parametrize(
    ("spoil", "found", "fix"),
    [
        (_no_such_shard, r"vectors/00001\.safetensors: found no such file", "does only what is missing"),
        (_no_such_curated_shard, r"curated/00002\.parquet: found no such file", "curate cluster command again"),
        (_another_encoder_in_one_shard, r"00001\.safetensors: found vectors of toy.*another", "delete it"),
        (_an_index_of_another_encoder, r"an index written by toy \(another00000", "Embed the index again"),
        (_concepts_by_another_encoder, r"the encoder toy \(another00000", "embed again"),
        (_a_vocabulary_without_any_hit, r"words\.txt.*none of 4 concepts in the captions of 21 images", "--vocabulary"),
        (_other_settings, r"search in .*results made with neighbours 4 \(now 5\)", "--redo remove what search, rank, cluster"),
        (_another_encoder_at_the_same_folder, r"encoder_fingerprint toy0{9}… \(now another00000…\)", "another folder"),
        (_language_without_caption_vectors, "no vectors of captions", "--expansion language"),
        (_search_before_embed, r"no readable embed\.json", "Run: lexiseg curate embed"),
        (_cluster_before_rank, r"no readable rank\.json", "Run: lexiseg curate rank"),
        (_a_damaged_manifest, r"a damaged search\.json", "Run: lexiseg curate search"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_says_what_to_do(copied, data, words, spoil, found, fix):
    with pytest.raises(LexisegError, match=found) as error:
        spoil(copied, data, words)
    assert fix in str(error.value)


def test_two_records_of_one_name_are_refused_with_their_rows(tmp_path):
    columns = {
        "image": [image_bytes(number, kind="PNG") for number in range(5)],
        "caption": [f"a dog {number}" for number in range(5)],
        "id": ["a", "b", "c", "b", "e"],
    }
    from lexiseg.data.captions.records import CaptionColumns

    data = write_parquet(tmp_path / "data.parquet", columns)
    with pytest.raises(DatasetError, match=r"two records named data\.parquet#b \(rows 1 and 3\)") as error:
        embed_all(data, tmp_path / "curation", columns=CaptionColumns(key="id"))
    assert "--key" in str(error.value)
    columns["number"] = list("01234")
    data = write_parquet(tmp_path / "data.parquet", columns)
    assert len(embed_all(data, tmp_path / "numbered", columns=CaptionColumns(key="number"))) == 5


def test_two_names_of_one_hash_are_told_apart(data, words, tmp_path, monkeypatch):
    for module in ("embed", "curated"):
        monkeypatch.setattr(f"lexiseg.data.curation.{module}.name_hash", lambda name: len(name))
    curated = curate(data, tmp_path, words)
    assert [curated.find(f"images#{row:03d}").row for row in range(21)] == list(range(21))
    found = EmbeddedImages(tmp_path).find_names(["images#004", "images#020"])
    assert [record for record, _ in found.values()] == [4, 20]


def test_broken_records_are_left_out_and_listed(data, words, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    (folder / "images/005.png").write_bytes(b"no image")
    text = (folder / "captions.tsv").read_text().replace("a dog near a car", "   ", 1)
    (folder / "captions.tsv").write_text(text)
    curated = curate(folder, tmp_path / "curation", words)
    assert len(curated) == 19
    invalid = read_invalid_records(tmp_path / "curation/vectors")
    assert [(record.key, record.reason.value) for record in invalid] == [
        ("003", "empty caption"), ("005", "unreadable image"),
    ]  # fmt: skip
    assert curated.find("images#003") is None
    assert curated.whole("006")["record"] == 5  # of the source, which leaves the empty caption out itself


def test_a_shard_without_any_readable_image_is_no_hindrance(data, words, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    for number in range(8, 16):
        (folder / f"images/{number:03d}.png").write_bytes(b"no image")
    curated = curate(folder, tmp_path / "curation", words)
    assert len(curated) == 13
    assert curated.find("images#016").row == 8


def test_no_record_at_all_is_refused(tmp_path):
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/captions.tsv").write_text("x\ta dog\n")
    with pytest.raises(InputError, match=r"no usable record, and 1 invalid ones.*lexiseg captions check"):
        embed_shards(tmp_path / "data", tmp_path / "curation").begin({})


def test_a_line_break_in_a_caption_separates_words_only(tmp_path, words):
    columns = {"image": [image_bytes(1, kind="PNG")], "caption": ["grass over a dirt\nroad\r\n"]}
    data = write_parquet(tmp_path / "data.parquet", columns)
    curated = curate(data, tmp_path / "curation", words, neighbours=9)
    assert curated[0].captions == ("grass over a dirt road",)
    assert set(curated[0].concepts) == {"grass", "dirt road", "road"}


def test_more_neighbours_than_images_gives_all(data, tmp_path):
    embed_all(data, tmp_path)
    stage = SearchShards(tmp_path, tmp_path, SearchSettings(neighbours=100))
    assert stage.begin() == (21, 1.0)
    run_stage(stage)
    assert map_arrays(stage.target(0), stage="search")[0]["rows"].shape == (8, 21)


def test_one_image_without_itself_has_no_neighbour(tmp_path):
    embed_all(write_images(tmp_path / "data", 1), tmp_path / "curation")
    with pytest.raises(InputError, match="an index of 1 images"):
        search_all(tmp_path / "curation", keep_anchor=False)


def test_vectors_that_are_no_numbers_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ToyEncoder, "embed_images", lambda self, images: np.full((len(images), 48), np.nan, np.float32)
    )
    with pytest.raises(InputError, match="images#000 by toy: found a vector that is not finite"):
        embed_all(data, tmp_path)


def test_data_that_moved_are_the_same_data(data, finished, tmp_path):
    stage = embed_shards(shutil.copytree(data, tmp_path / "moved"), finished)
    stage.begin({OPENED: {"paths": ["elsewhere"], "columns": {}, "split": None}})
    assert stage.pending() == []


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_faiss_stands_behind_the_same_stage(data, words, finished, tmp_path, kind):
    pytest.importorskip("faiss")
    embed_all(data, tmp_path)
    stage = SearchShards(tmp_path, tmp_path, SearchSettings(neighbours=4, search=kind))
    count, reached = stage.begin()
    assert (count, reached >= 0.95) == (4, True)
    run_stage(stage)
    rank_all(tmp_path, words)
    cluster_all(tmp_path)
    exact = read_table(finished / "curated/00000.parquet", stage="cluster").to_pylist()
    found = read_table(tmp_path / "curated/00000.parquet", stage="cluster").to_pylist()
    same = sum(a == b for a, b in zip(exact, found, strict=True))
    assert same >= 7  # 21 vectors: nothing is left out


def test_naive_ranking_sorts_by_the_first_score(data, words, tmp_path):
    embed_all(data, tmp_path)
    search_all(tmp_path)
    rank_all(tmp_path, words, ranking="naive")
    for row in read_table(tmp_path / "ranked/00000.parquet", stage="rank").to_pylist():
        assert row["scores"] == row["sigma_a"] == sorted(row["sigma_a"], reverse=True)


def test_write_keys_needs_every_shard(copied):
    (copied / "vectors/00002.arrow").unlink()
    with pytest.raises(DatasetError, match=r"00002\.arrow: found no such file"):
        write_keys(EmbeddedImages(copied))
