"""How good are concept archives, before anything is trained? Writes cocu_archives.json beside this file.

    python benchmarks/accuracy/cocu_archives.py [--scenes 2000] [--seeds 10]

Scenes of the preset *curation*: three to five classes, of which captions name one or two, the large things first; stuff
is visible and seldom named, and classes go by two names. What is truly there is known, so that precision and recall of
archives need no training. The code of ``lexiseg curate`` finds concepts, searches and ranks.

The teacher is made, so that its faults are known. Its similarity of an image and a word is

    0.2  +  offset of the word  +  0.25 * weight * (square root of the class's share of the pixels  +  noise)

about as CLIP's are: 0.1 to 0.35. *Offset*: 0 for all words, or drawn for each (standard deviation 0.03): words that it
likes with every image. *Weight*: 1 for all classes, or 0.4 for stuff: a teacher that learnt from captions cares for
what captions name. Two names of a class are close. Fillers of captions that WordNet calls things (friend, album, …) are
concepts too, and are never there.

Rows, over seeds with a 95 % interval (Student's t):

* *archive precision*: share of an archive's concepts whose class is visible;
* *recall of unnamed*: share of the visible classes that the image's own caption does not name and the archive has;
* *top-3 precision*, and *top-3 unnamed*: how many of the three best concepts are a visible class that the caption does
  not name.

Differences are paired: of the same scenes and the same teacher.

Floors: neighbours drawn at random (the anchor first, as in a search), and the three concepts that captions name most,
for every image the same.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine, versions  # noqa: E402

from lexiseg.data.curation.concept_vocabulary import ConceptVocabulary  # noqa: E402
from lexiseg.data.scenes import scene_batch  # noqa: E402
from lexiseg.data.scenes.settings import curation_scenes  # noqa: E402
from lexiseg.data.scenes.world import world_of  # noqa: E402
from lexiseg.ops.concept_ranking import ConceptLists, RankedConcepts, Ranking, rank_concepts  # noqa: E402
from lexiseg.ops.neighbours import ArrayRows, ExactSearch, unit_rows  # noqa: E402

FILLERS = ("friend", "album", "family", "trip", "afternoon")
#: Offsets of the one popular word.
OFFSETS = (0.0, 0.05, 0.1)
#: The teacher's similarities: of nothing, and how much a class that fills the image adds.
BASE, GAIN = 0.2, 0.25
#: Length of the place that all images share.
COMMON = 0.8


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Faults of a teacher.

    Attributes:
        noise: Standard deviation beside square roots of shares of pixels (0.3 for a tenth of an image).
        word_offsets: Standard deviation of the words' offsets.
        stuff_weight: How much stuff counts beside things.
        popular: Offset of one word, the first name of the first class.
    """

    noise: float = 0.15
    word_offsets: float = 0.03
    stuff_weight: float = 0.4
    popular: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Scenes of one seed: what is there, and what captions name."""

    seed: int
    visible: np.ndarray  # I K
    shares: np.ndarray  # I K
    is_stuff: np.ndarray  # K
    named: ConceptLists
    class_of: np.ndarray  # V, -1 for fillers
    said: np.ndarray  # I K


@dataclass(frozen=True, kw_only=True)
class World:
    """Scenes as a teacher sees them; unit rows."""

    scenes: Scenes
    images: np.ndarray  # I D
    captions: np.ndarray  # I D
    concepts: np.ndarray  # V D


def draw(seed: int, num_scenes: int) -> Scenes:
    settings = curation_scenes()
    batch = scene_batch(settings, seed, 0, 0, num_scenes, num_scenes)
    words = world_of(settings).words
    names = dict.fromkeys([*(name for each in words for name in each.names), *FILLERS])
    vocabulary = ConceptVocabulary(name="scenes", concepts=tuple(names))
    class_of = [next((k for k, each in enumerate(words) if c in each.names), -1) for c in vocabulary.concepts]
    maps = batch.label_maps.numpy().reshape(num_scenes, -1)
    counts = [np.bincount(each[each < len(words)], minlength=len(words)) for each in maps]
    found = [vocabulary.find([caption]) for caption in batch.captions]
    said = np.zeros((num_scenes, len(words)), bool)
    for row, numbers in enumerate(found):
        said[row, [class_of[number] for number in numbers if class_of[number] >= 0]] = True
    return Scenes(
        seed=seed,
        visible=batch.tags.numpy(),
        shares=np.array(counts) / maps.shape[1],
        is_stuff=np.array([each.is_stuff for each in words]),
        named=ConceptLists(
            offsets=np.concatenate([[0], np.cumsum([len(each) for each in found])]).astype(np.int64),
            concepts=np.array([number for each in found for number in each], np.int32),
        ),
        class_of=np.array(class_of),
        said=said,
    )


def see(scenes: Scenes, teacher: Teacher) -> World:
    """Make vectors whose products are the teacher's similarities."""
    rng = np.random.default_rng(1000 + scenes.seed)
    weight = np.where(scenes.is_stuff, teacher.stuff_weight, 1.0)
    shown = weight * (np.sqrt(scenes.shares) + teacher.noise * rng.standard_normal(scenes.shares.shape))
    shown *= 0.5 / np.linalg.norm(shown, axis=1).max()  # leaves room for the common place
    gain = GAIN / (0.5 / np.linalg.norm(weight * np.sqrt(scenes.shares), axis=1).max())
    num_words, num_classes = len(scenes.class_of), len(weight)
    classes = np.where(scenes.class_of[:, None] >= 0, np.eye(num_classes)[scenes.class_of], 0.0)
    classes += 0.05 * rng.standard_normal((num_words, num_classes))  # names of one class differ a little
    likes = BASE + teacher.word_offsets * rng.standard_normal(num_words)
    likes[0] = BASE + teacher.popular if teacher.popular else likes[0]
    concepts = _unit_by_rest(np.concatenate([gain * classes, likes[:, None] / COMMON], axis=1), 2)
    images = _unit_by_rest(np.concatenate([shown, np.full((len(shown), 1), COMMON)], axis=1), 1)
    owners = np.repeat(np.arange(len(scenes.named)), np.diff(scenes.named.offsets))
    captions = np.zeros(images.shape)
    np.add.at(captions, owners, concepts[scenes.named.concepts])
    return World(
        scenes=scenes,
        images=images,
        captions=unit_rows((captions + 1e-9).astype(np.float32)),
        concepts=concepts,
    )


def _unit_by_rest(rows: np.ndarray, place: int) -> np.ndarray:
    """Add two places, one of which fills the rows up to unit length: it meets nothing on the other side."""
    rest = np.zeros((len(rows), 2))
    rest[:, place - 1] = np.sqrt(np.maximum(0.0, 1.0 - (rows**2).sum(axis=1)))
    return np.concatenate([rows, rest], axis=1).astype(np.float32)


def rank(world: World, rows: np.ndarray, ranking: Ranking = "guided") -> RankedConcepts:
    near = world.images[rows]
    own = np.arange(len(rows))
    return rank_concepts(world.images, own, rows, near, world.scenes.named, world.concepts, ranking=ranking)


def search(world: World, index: np.ndarray, n: int) -> np.ndarray:
    return ExactSearch(ArrayRows(index)).search(world.images, n).rows


def random_rows(world: World, n: int, seed: int) -> np.ndarray:
    count = len(world.images)
    rows = np.random.default_rng(seed).integers(0, count, (count, n))
    rows[:, 0] = np.arange(count)
    return rows


def measure(world: World, ranked: RankedConcepts) -> dict[str, float]:
    scenes = world.scenes
    sizes = np.diff(ranked.lists.offsets)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(owners)) - ranked.lists.offsets[:-1][owners]
    classes = scenes.class_of[ranked.lists.concepts]
    there = (classes >= 0) & scenes.visible[owners, classes]
    unnamed = scenes.visible & ~scenes.said
    found = np.zeros_like(unnamed)
    found[owners[there], classes[there]] = True
    first = place < 3

    def share(values: np.ndarray, chosen: np.ndarray) -> float:
        counts = np.bincount(owners[chosen], minlength=len(sizes))
        sums = np.bincount(owners[chosen], values[chosen], minlength=len(sizes))
        return float((sums[counts > 0] / counts[counts > 0]).mean())

    hidden = unnamed.any(axis=1)
    new = there & unnamed[owners, np.maximum(classes, 0)]
    top = np.zeros_like(unnamed)
    top[owners[new & first], classes[new & first]] = True
    return {
        "archive_size": float(sizes.mean()),
        "archive_precision": share(there, np.ones_like(there)),
        "recall_of_unnamed": float(((found & unnamed).sum(1)[hidden] / unnamed.sum(1)[hidden]).mean()),
        "top3_precision": share(there, first),
        "top3_unnamed": float(top.sum(1).mean()),
    }


def corpus_words(world: World) -> RankedConcepts:
    """Give every image the three concepts that captions name most."""
    best = np.argsort(
        -np.bincount(world.scenes.named.concepts, minlength=len(world.concepts)), kind="stable"
    )[:3]
    count = len(world.images)
    scores = np.tile(np.float32([3, 2, 1]), count)
    lists = ConceptLists(
        offsets=np.arange(0, 3 * count + 1, 3), concepts=np.tile(best, count).astype(np.int32)
    )
    return RankedConcepts(lists=lists, sigma_a=scores, sigma_b=scores, scores=scores)


def own_captions(world: World) -> RankedConcepts:
    """Give every image what its own caption names, as GroupViT trains."""
    return rank(world, np.arange(len(world.images))[:, None])


def by_second_score(ranked: RankedConcepts) -> RankedConcepts:
    """Sort by sigma_b alone, to see what the sum of both does."""
    owners = np.repeat(np.arange(len(ranked.lists)), np.diff(ranked.lists.offsets))
    order = np.lexsort((ranked.lists.concepts, -ranked.sigma_b, owners))
    lists = ConceptLists(offsets=ranked.lists.offsets, concepts=ranked.lists.concepts[order])
    return replace(ranked, lists=lists)


def popular_rate(world: World, ranked: RankedConcepts) -> float:
    """Share of images that do not show the popular word's class, and have the word in the archive, with it in the top 3."""
    hits = [
        0 in ranked.lists[image][:3]
        for image in range(len(world.images))
        if not world.scenes.visible[image, 0] and 0 in ranked.lists[image]
    ]
    return float(np.mean(hits))


def interval(values: list[float]) -> dict[str, float]:
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(student.ppf(0.975, len(values) - 1)) * spread / math.sqrt(len(values))
    return {"mean": round(mean, 4), "half_width": round(half, 4)}


def summed_up(found: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: interval([each[name] for each in found]) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    seeds = range(given.seeds)
    drawn = [draw(seed, given.scenes) for seed in seeds]
    rows: list[dict[str, Any]] = []

    differences: list[dict[str, Any]] = []

    def add(what: str, n: int | None, function: Callable[[World], RankedConcepts]) -> list[dict[str, float]]:
        each = [measure(world, function(world)) for world in worlds]
        rows.append({"teacher": name, "archive": what, "N": n, **summed_up(each)})
        print(*(rows[-1][key] for key in ("teacher", "archive", "N")), end=": ")
        print(
            ", ".join(
                f"{key} {v['mean']:.3f}±{v['half_width']:.3f}"
                for key, v in rows[-1].items()
                if isinstance(v, dict)
            ),
            flush=True,
        )
        return each

    def compare(
        what: str, n: int, measured: str, one: list[dict[str, float]], other: list[dict[str, float]]
    ) -> None:
        found = interval([a[measured] - b[measured] for a, b in zip(one, other, strict=True)])
        differences.append({"teacher": name, "difference": what, "of": measured, "N": n, **found})
        print(differences[-1], flush=True)

    teachers = {
        "plain": Teacher(word_offsets=0.0, stuff_weight=1.0),
        "offsets": Teacher(stuff_weight=1.0),
        "things first": Teacher(word_offsets=0.0),
        "both": Teacher(),
        "both, little noise": Teacher(noise=0.05),
        "both, much noise": Teacher(noise=0.3),
    }
    for name, teacher in teachers.items():
        worlds = [see(scenes, teacher) for scenes in drawn]
        if name == "both":
            add("own caption", None, own_captions)
            add("most frequent words", None, corpus_words)
        for n in (8, 16, 32) if name == "both" else (16,):
            add("random neighbours, guided", n, lambda w, n=n: rank(w, random_rows(w, n, w.scenes.seed)))
            language = add("language, naive", n, lambda w, n=n: rank(w, search(w, w.captions, n), "naive"))
            naive = add("vision, naive", n, lambda w, n=n: rank(w, search(w, w.images, n), "naive"))
            guided = add("vision, guided", n, lambda w, n=n: rank(w, search(w, w.images, n)))
            second = add(
                "vision, sigma_b alone", n, lambda w, n=n: by_second_score(rank(w, search(w, w.images, n)))
            )
            compare("vision - language", n, "recall_of_unnamed", naive, language)
            compare("guided - naive", n, "top3_precision", guided, naive)
            compare("guided - naive", n, "top3_unnamed", guided, naive)
            compare("sigma_b alone - guided", n, "top3_precision", second, guided)
    popular: list[dict[str, Any]] = []
    for offset in OFFSETS:
        found = []
        for scenes in drawn:
            world = see(scenes, Teacher(word_offsets=0.0, stuff_weight=1.0, popular=offset))
            near = search(world, world.images, 16)
            guided = rank(world, near)
            orders = {
                "naive": rank(world, near, "naive"),
                "guided": guided,
                "sigma_b alone": by_second_score(guided),
            }
            found.append({kind: popular_rate(world, ranked) for kind, ranked in orders.items()})
        popular.append({"offset": offset, **summed_up(found)})
        print(popular[-1], flush=True)
    content = {
        "command": "python benchmarks/accuracy/cocu_archives.py",
        "machine": machine(),
        "versions": versions(["numpy", "torch"]),
        "scenes": given.scenes,
        "seeds": list(seeds),
        "teachers": {name: asdict(teacher) for name, teacher in teachers.items()},
        "rows": rows,
        "differences": differences,
        "popular_word": popular,
    }
    (HERE / "cocu_archives.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
