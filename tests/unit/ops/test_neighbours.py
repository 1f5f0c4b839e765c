import numpy as np
import pytest
import torch

from lexiseg.core.errors import InputError
from lexiseg.ops import neighbours
from lexiseg.ops.neighbours import ArrayRows, ExactSearch, lowest_topk, recall, unit_rows


def random_vectors(count, dim=32, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float16)


def brute_force(queries, index, n):
    q, i = (rows.astype(np.float64) for rows in (queries, index))
    cosines = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (
        i / np.linalg.norm(i, axis=1, keepdims=True)
    ).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
    return order, np.take_along_axis(cosines, order, axis=1)


@pytest.mark.parametrize(("num_queries", "num_rows", "n"), [(1, 1, 1), (7, 50, 5), (70, 333, 16), (3, 5, 5)])
def test_it_finds_what_comparing_everything_finds(num_queries, num_rows, n):
    queries, index = random_vectors(num_queries, seed=1), random_vectors(num_rows)
    found = ExactSearch(ArrayRows(index), block=64).search(queries, n)
    rows, cosines = brute_force(queries, index, n)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.similarities, cosines, atol=1e-6)


def test_blocks_threads_and_company_do_not_change_a_bit():
    queries, index = random_vectors(40, seed=1), random_vectors(500)
    whole = ExactSearch(ArrayRows(index), block=1000).search(queries, 8)
    before = torch.get_num_threads()
    try:
        for block, threads in ((1, 1), (37, 2), (128, 3)):
            torch.set_num_threads(threads)
            again = ExactSearch(ArrayRows(index), block=block).search(queries, 8)
            np.testing.assert_array_equal(again.rows, whole.rows)
            np.testing.assert_array_equal(again.similarities, whole.similarities)
    finally:
        torch.set_num_threads(before)
    alone = [ExactSearch(ArrayRows(index)).search(queries[q : q + 1], 8) for q in range(40)]
    np.testing.assert_array_equal(np.concatenate([each.rows for each in alone]), whole.rows)
    np.testing.assert_array_equal(np.concatenate([each.similarities for each in alone]), whole.similarities)


def test_of_equally_near_rows_the_lower_comes_first():
    index = np.repeat(random_vectors(4), 3, axis=0)[np.random.default_rng(0).permutation(12)]
    for block in (1, 5, 12):
        found = ExactSearch(ArrayRows(index), block=block).search(index, 3)
        for row, near in enumerate(found.rows):
            assert near.tolist() == np.flatnonzero((index == index[row]).all(axis=1)).tolist()
        assert (found.similarities == found.similarities[:, :1]).all()


def test_the_anchor_is_its_own_first_neighbour():
    """Rounding to half precision makes lengths differ; the cosine does not mind."""
    index = unit_rows(random_vectors(200, dim=64)).astype(np.float16)
    index[50:100] = index[:50] * np.float16(1.5)
    found = ExactSearch(ArrayRows(index)).search(index[100:], 2)
    assert found.rows[:, 0].tolist() == list(range(100, 200))
    assert ExactSearch(ArrayRows(index)).search(index[:50], 2).rows.tolist() == [
        [i, i + 50] for i in range(50)
    ]


def test_more_neighbours_contain_fewer():
    queries, index = random_vectors(20, seed=1), random_vectors(100)
    few, many = (ExactSearch(ArrayRows(index)).search(queries, n).rows for n in (4, 9))
    np.testing.assert_array_equal(many[:, :4], few)


def test_asking_for_more_than_there_are_gives_all():
    found = ExactSearch(ArrayRows(random_vectors(5))).search(random_vectors(2, seed=1), 99)
    assert np.sort(found.rows, axis=1).tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize(
    ("rows", "dim", "n", "found"),
    [(4, 8, 0, "n = 0"), (0, 8, 1, "0 vectors"), (4, 6, 1, "vectors of length 6, queries of length 8")],
)
def test_what_cannot_be_searched_is_refused(rows, dim, n, found):
    search = ExactSearch(ArrayRows(np.zeros((rows, dim), np.float16)))
    with pytest.raises(InputError, match=found) as error:
        search.search(random_vectors(2, dim=8), n)
    assert "the same encoder wrote" in error.value.fix


def test_zero_vectors_are_near_nothing():
    index = random_vectors(20)
    index[3] = 0
    found = ExactSearch(ArrayRows(index)).search(index[:5], 20)
    assert np.isfinite(found.similarities).all()
    assert (found.similarities[3] == 0).all()


def test_what_a_device_does_gives_the_same(monkeypatch):
    """The path of GPUs, on the CPU: top-k block by block."""
    queries, index = random_vectors(33, seed=1), np.repeat(random_vectors(150), 2, axis=0)
    exact = ExactSearch(ArrayRows(index), block=40).search(queries, 7)
    monkeypatch.setattr(
        ExactSearch,
        "candidates",
        lambda self, rows, count: neighbours._candidates_by_topk(
            rows, self.index, count, 40, torch.device("cpu")
        ),
    )
    again = ExactSearch(ArrayRows(index), block=40).search(queries, 7)
    np.testing.assert_array_equal(again.rows, exact.rows)
    np.testing.assert_array_equal(again.similarities, exact.similarities)


def test_lowest_topk_takes_the_first_of_equals():
    values = torch.tensor([[1.0, 2, 2, 2, 0], [3, 3, 3, 3, 3], [5, 4, 3, 2, 1]])
    top, columns = lowest_topk(values, 2)
    assert top.tolist() == [[2, 2], [3, 3], [5, 4]]
    assert columns.tolist() == [[1, 2], [0, 1], [0, 1]]


def test_recall_counts_what_was_found():
    assert recall([[1, 2], [3, 4]], [[2, 1], [4, 5]]) == 0.75


class TestFaiss:
    faiss = pytest.importorskip("faiss")

    @pytest.fixture(params=["ivf", "hnsw"])
    def kind(self, request):
        return request.param

    @pytest.fixture
    def index(self):
        rng = np.random.default_rng(0)
        near = random_vectors(40, seed=3)[rng.integers(40, size=1500)]
        return ArrayRows((near + rng.standard_normal(near.shape)).astype(np.float16))

    def test_it_reaches_the_recall_asked_for(self, kind, index, tmp_path):
        from lexiseg.ops.neighbours_faiss import FaissSearch, build_faiss, sample_rows

        build_faiss(index, kind, tmp_path / "x.faiss")
        search = FaissSearch(index, kind, tmp_path / "x.faiss")
        reached = search.widen(index.vectors[sample_rows(1500)], 8, 0.95)
        assert reached >= 0.95
        exact = ExactSearch(index).search(index.vectors[:100], 8)
        found = search.search(index.vectors[:100], 8)
        assert recall(found.rows, exact.rows) > 0.9
        np.testing.assert_array_equal(found.rows[:, 0], np.arange(100))  # cosines and order are exact
        same = found.rows == exact.rows
        np.testing.assert_array_equal(found.similarities[same], exact.similarities[same])

    def test_the_same_seed_builds_the_same_file(self, kind, index, tmp_path):
        from lexiseg.ops.neighbours_faiss import build_faiss

        for name in ("a", "b"):
            build_faiss(index, kind, tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_another_index_and_a_damaged_one_are_refused(self, kind, index, tmp_path):
        from lexiseg.core.errors import DatasetError
        from lexiseg.ops.neighbours_faiss import FaissSearch, build_faiss

        path = tmp_path / "x.faiss"
        build_faiss(index, kind, path)
        with pytest.raises(
            DatasetError, match=r"x\.faiss: found 1,500 vectors of length 32; expected the 3 vectors"
        ):
            FaissSearch(ArrayRows(random_vectors(3)), kind, path)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(DatasetError, match=r"x\.faiss.*Delete it and run the same command again"):
            FaissSearch(index, kind, path)
