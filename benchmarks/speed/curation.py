"""Curation: neighbours against the bare matrix product and faiss, and a whole curation against a plain loop.

    python benchmarks/speed/curation.py [--queries 1000000] [--index 100000] [--images 100000] [--threads 2]

*Neighbours*: N = 16 of vectors of 512 that lie around 5,000 topics in 64 directions, in shards of 16,384 queries. In
turns, shard by shard: the product of the same blocks alone, in single precision and in memory (2,048 queries by 8,192
rows, what the exact search multiplies); the exact search out of a half-precision file that is mapped from disk; faiss'
IVF at the width that reaches a recall of 0.95. Building the IVF index is timed apart.

*Memory*: the exact search in a process of its own that maps queries and index from files.

*Curation*: neighbours, ranking and clusters of vectors of 64 with three concepts in a caption out of 1,000. The peer is
the loop that one writes first: for each image one product with all, dictionaries, scikit-learn's KMeans. It does the
first few hundred images, which are compared with ours: archives and scores must be equal; k-means draws its own random
numbers, so inertias are compared.

Seconds are processor seconds of the process, all threads together: on a machine that others use too, time on the clock
would measure them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import Row, print_rows, write_json

from lexiseg.ops.concept_ranking import ConceptLists, rank_concepts
from lexiseg.ops.neighbours import BLOCK, QUERIES, ArrayRows, ExactSearch, recall, unit_rows
from lexiseg.ops.neighbours_faiss import FaissSearch, build_faiss, sample_rows
from lexiseg.ops.small_kmeans import cluster_lists

SHARD, DIM, N = 16_384, 512, 16
PEER_IMAGES = 200


def write_vectors(path: Path, count: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Write vectors around topics, a piece at a time, and map them."""
    world = np.random.default_rng(0)
    topics, spread = world.standard_normal((5000, 64)), world.standard_normal((64, dim)) / 8
    rng = np.random.default_rng(seed)
    mapped = np.lib.format.open_memmap(path, "w+", np.float16, (count, dim))
    for start in range(0, count, SHARD):
        size = min(SHARD, count - start)
        inner = topics[rng.integers(len(topics), size=size)] + 0.5 * rng.standard_normal((size, 64))
        mapped[start : start + size] = unit_rows((inner @ spread).astype(np.float32))
    mapped.flush()
    return np.load(path, mmap_mode="r")


def bare_products(queries: torch.Tensor, index: torch.Tensor, product: torch.Tensor) -> None:
    """Multiply block by block, and keep nothing."""
    for start in range(0, len(index), BLOCK):
        near = index[start : start + BLOCK]
        for first in range(0, len(queries), QUERIES):
            part = queries[first : first + QUERIES]
            torch.mm(part, near.T, out=product[: len(part) * len(near)].view(len(part), len(near)))


def neighbour_rows(folder: Path, num_queries: int, num_index: int) -> list[Row]:
    queries = write_vectors(folder / "queries.npy", num_queries, 1)
    index = write_vectors(folder / "index.npy", num_index, 2)
    rows = ArrayRows(index)
    in_memory = torch.from_numpy(unit_rows(index))
    product = torch.empty(QUERIES * BLOCK)
    start = time.process_time()
    build_faiss(rows, "ivf", folder / "ivf.faiss")
    built = time.process_time() - start
    exact, approximate = ExactSearch(rows), FaissSearch(rows, "ivf", folder / "ivf.faiss")
    approximate.widen(queries[sample_rows(num_queries)], N, 0.95)
    exact.search(queries[:256], N)  # compiles
    seconds = {"bare product": 0.0, "exact": 0.0, "ivf": 0.0}
    reached = []
    for first in range(0, num_queries, SHARD):
        shard = queries[first : first + SHARD]
        unit = torch.from_numpy(unit_rows(shard))
        start = time.process_time()
        bare_products(unit, in_memory, product)
        seconds["bare product"] += time.process_time() - start
        start = time.process_time()
        found = exact.search(shard, N)
        seconds["exact"] += time.process_time() - start
        start = time.process_time()
        near = approximate.search(shard, N)
        seconds["ivf"] += time.process_time() - start
        reached.append((len(shard), recall(near.rows, found.rows)))
    shares = {"exact": 1.0, "ivf": sum(n * share for n, share in reached) / num_queries}
    work = 2 * num_queries * num_index * DIM
    return [
        {
            "what": f"{num_queries:,} × {num_index:,} × {DIM}",
            "function": name,
            "cpu_seconds": round(taken, 2),
            "ratio": round(taken / seconds["bare product"], 3),
            "exact_over_this": round(seconds["exact"] / taken, 2),
            "recall": round(shares.get(name, 0.0), 4) if name in shares else "",
            "gigaflops": round(work / taken / 1e9, 1) if name != "ivf" else "",
            "note": f"{approximate.width} of {approximate.most} cells; built in {built:.1f} s"
            if name == "ivf"
            else "",
        }
        for name, taken in seconds.items()
    ]


def peak_memory(folder: Path, num_queries: int) -> dict[str, Any]:
    """Search in a process of its own; its peak covers interpreter, torch and what is mapped."""
    command = [sys.executable, __file__, "--memory-of", str(folder), "--queries", str(num_queries)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    before, after = map(int, lines[-1].split())
    return {"queries": num_queries, "imports_mb": round(before / 1024), "peak_mb": round(after / 1024)}


def measure_memory(folder: Path, num_queries: int) -> None:
    before = most_memory()
    queries = np.load(folder / "queries.npy", mmap_mode="r")
    search = ExactSearch(ArrayRows(np.load(folder / "index.npy", mmap_mode="r")))
    for first in range(0, num_queries, SHARD):
        search.search(queries[first : min(first + SHARD, num_queries)], N)
    print(before, most_memory())


def most_memory() -> int:
    """Read the peak of this process in kilobytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def make_curation(folder: Path, count: int) -> tuple[np.ndarray, ConceptLists, np.ndarray]:
    images = write_vectors(folder / "images.npy", count, 3, dim=64)
    rng = np.random.default_rng(4)
    concepts = unit_rows(rng.standard_normal((1000, 64)).astype(np.float32))
    near = np.argsort(-(unit_rows(images[:count]) @ concepts.T), axis=1)[:, :40].astype(np.int32)
    chosen = np.take_along_axis(near, np.argsort(rng.random(near.shape), axis=1)[:, :3], axis=1)
    offsets = np.arange(0, 3 * count + 1, 3, dtype=np.int64)
    return images, ConceptLists(offsets=offsets, concepts=chosen.ravel()), concepts


def curate(
    images: np.ndarray, named: ConceptLists, concepts: np.ndarray
) -> tuple[Any, Any, dict[str, float]]:
    seconds = {}
    start = time.process_time()
    search = ExactSearch(ArrayRows(images))
    rows = np.concatenate(
        [search.search(images[a : a + SHARD], N).rows for a in range(0, len(images), SHARD)]
    )
    seconds["search"] = time.process_time() - start
    start = time.process_time()
    unit = unit_rows(images)
    own = np.arange(len(images))
    parts = []
    for a in range(0, len(images), 512):
        part = slice(a, a + 512)
        parts.append(rank_concepts(unit[part], own[part], rows[part], unit[rows[part]], named, concepts))
    seconds["rank"] = time.process_time() - start
    start = time.process_time()
    clusters = [cluster_lists(part.lists, concepts) for part in parts]
    seconds["cluster"] = time.process_time() - start
    return parts, clusters, seconds


def plain_loop(
    images: np.ndarray, named: ConceptLists, concepts: np.ndarray, count: int
) -> list[tuple[Any, Any, Any]]:
    """Curate the first images as one would write it first."""
    from sklearn.cluster import KMeans

    vectors = images.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    results = []
    for anchor in range(count):
        similarity = vectors @ vectors[anchor]
        near = np.argpartition(-similarity, N)[:N]
        says: dict[int, list[int]] = {}
        for row in near:
            for concept in named[int(row)]:
                says.setdefault(int(concept), []).append(int(row))
        shown = {c: float(concepts[c] @ vectors[anchor]) for c in says}
        others = {c: [float(concepts[c] @ vectors[row]) for row in says[c] if row != anchor] for c in says}
        mu = max(max([shown[c], *others[c]]) for c in says)
        scores = {
            c: shown[c] / max(mu, 1e-3) + shown[c] / max(np.mean([shown[c], *others[c]]), 1e-3) for c in says
        }
        order = sorted(says, key=lambda c: (-scores[c], c))
        labels = None
        if len(order) > 2:
            labels = (
                KMeans((len(order) + 1) // 2, n_init=5, max_iter=100, random_state=0)
                .fit(concepts[order])
                .labels_
            )
        results.append((order, [scores[c] for c in order], labels))
    return results


def inertia(vectors: np.ndarray, labels: np.ndarray) -> float:
    return float(
        sum(((vectors[labels == k] - vectors[labels == k].mean(0)) ** 2).sum() for k in np.unique(labels))
    )


def curation_rows(folder: Path, count: int) -> tuple[list[Row], dict[str, Any]]:
    images, named, concepts = make_curation(folder, count)
    curate(
        images[:64], ConceptLists(offsets=named.offsets[:65], concepts=named.concepts), concepts
    )  # compiles
    parts, clusters, seconds = curate(images, named, concepts)
    start = time.process_time()
    peers = plain_loop(images, named, concepts, PEER_IMAGES)
    peer = (time.process_time() - start) * count / PEER_IMAGES
    same, inertias = 0, []
    for image, (order, scores, labels) in enumerate(peers):
        part, place = parts[image // 512], image % 512
        here = slice(part.lists.offsets[place], part.lists.offsets[place + 1])
        ours = part.lists[place].tolist()
        close = sorted(ours) == sorted(order) and np.allclose(
            np.sort(part.scores[here]), np.sort(scores), atol=1e-4
        )
        same += close and (ours == order or np.allclose(part.scores[here], scores, atol=1e-4))
        if labels is not None:
            both = inertia(concepts[ours], clusters[image // 512][here]), inertia(concepts[order], labels)
            inertias.append(both[0] / both[1])
    total = sum(seconds.values())
    rows = [
        {
            "what": f"curation of {count:,}",
            "function": "lexiseg",
            "cpu_seconds": round(total, 2),
            "ratio": 1.0,
        },
        {
            "what": f"curation of {count:,}",
            "function": f"plain loop (scaled from {PEER_IMAGES} images)",
            "cpu_seconds": round(peer, 1),
            "ratio": round(peer / total, 1),
        },
    ]
    facts = {
        "stages_s": {name: round(value, 2) for name, value in seconds.items()},
        "concepts_an_image": round(float(np.mean([len(order) for order, _, _ in peers])), 1),
        "same_archives_and_scores": f"{same} of {PEER_IMAGES}",
        "inertia_over_scikit_learn": {
            "mean": round(float(np.mean(inertias)), 4),
            "worst": round(max(inertias), 4),
        },
    }
    return rows, facts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=1_000_000)
    parser.add_argument("--index", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.memory_of is not None:
        measure_memory(given.memory_of, given.queries)
        return
    import faiss

    faiss.omp_set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        searched = neighbour_rows(folder, given.queries, given.index)
        print_rows(searched, "16 nearest neighbours")
        memory = peak_memory(folder, given.queries)
        print(memory)
        curated, facts = curation_rows(folder, given.images)
        print_rows(curated, "curation")
        print(facts)
    out = Path(__file__).with_suffix(".json")
    write_json(
        out,
        searched,
        ["torch", "numpy", "faiss-cpu", "scikit-learn"],
        memory=memory,
        curation=curated,
        facts=facts,
    )


if __name__ == "__main__":
    main()
