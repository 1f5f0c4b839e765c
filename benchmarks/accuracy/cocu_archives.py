"""How good are concept archives, before anything is trained? Writes cocu_archives.json beside this file.

    python benchmarks/accuracy/cocu_archives.py [--scenes 2000] [--seeds 10] [--teachers NAME ...] [--out FILE]

Scenes of the preset *curation*: three to five classes, of which captions name one or two, the large things first; stuff
is visible and seldom named, and classes go by two names. What is truly there is known, so that precision and recall of
archives need no training. The code of ``lexiseg curate`` finds concepts, searches and ranks.

Two teachers (``data.curation.scene_archives``). One is made, so that its faults are known: words that it likes with every
image (*offsets*), stuff that it cares less for, noise. Fillers of captions that WordNet calls things (friend, album, …) are
concepts too, and are never there. The other has learnt from 4,000 other scenes with their captions.

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
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine, versions  # noqa: E402

from lexiseg.data.curation.scene_archives import (  # noqa: E402
    CurationTeacher,
    TeacherView,
    draw_scene_set,
    look,
)
from lexiseg.data.scenes.settings import curation_scenes  # noqa: E402
from lexiseg.ops.concept_ranking import ConceptLists, RankedConcepts  # noqa: E402

#: Offsets of the one popular word.
OFFSETS = (0.0, 0.05, 0.1)


def measure(world: TeacherView, ranked: RankedConcepts) -> dict[str, float]:
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


def corpus_words(world: TeacherView) -> RankedConcepts:
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


def own_captions(world: TeacherView) -> RankedConcepts:
    """Give every image what its own caption names, as GroupViT trains."""
    return world.rank(np.arange(len(world.images))[:, None], "guided")


def by_second_score(ranked: RankedConcepts) -> RankedConcepts:
    """Sort by sigma_b alone, to see what the sum of both does."""
    owners = np.repeat(np.arange(len(ranked.lists)), np.diff(ranked.lists.offsets))
    order = np.lexsort((ranked.lists.concepts, -ranked.sigma_b, owners))
    lists = ConceptLists(offsets=ranked.lists.offsets, concepts=ranked.lists.concepts[order])
    return replace(ranked, lists=lists)


def popular_rate(world: TeacherView, ranked: RankedConcepts) -> float:
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
    parser.add_argument("--teachers", nargs="+", help="only these, and no popular word (default: all)")
    parser.add_argument("--out", default="cocu_archives.json", help="file beside this one")
    given = parser.parse_args()
    seeds = range(given.seeds)
    settings = curation_scenes()
    drawn = [draw_scene_set(settings, seed, given.scenes) for seed in seeds]
    rows: list[dict[str, Any]] = []

    differences: list[dict[str, Any]] = []

    def add(
        what: str, n: int | None, function: Callable[[TeacherView], RankedConcepts]
    ) -> list[dict[str, float]]:
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
        "plain": CurationTeacher(word_offsets=0.0, stuff_weight=1.0),
        "offsets": CurationTeacher(stuff_weight=1.0),
        "things first": CurationTeacher(word_offsets=0.0),
        "both": CurationTeacher(),
        "both, little noise": CurationTeacher(noise=0.05),
        "both, much noise": CurationTeacher(noise=0.3),
        "learnt from captions": CurationTeacher(kind="learnt"),
    }
    chosen = {name: teachers[name] for name in given.teachers or teachers}
    for name, teacher in chosen.items():
        worlds = [look(scenes, teacher, settings) for scenes in drawn]
        if name == "both":
            add("own caption", None, own_captions)
            add("most frequent words", None, corpus_words)
        for n in (8, 16, 32) if name in ("both", "learnt from captions") else (16,):
            add(
                "random neighbours, guided",
                n,
                lambda w, n=n: w.rank(w.search("random", n), "guided"),
            )
            language = add("language, naive", n, lambda w, n=n: w.rank(w.search("language", n), "naive"))
            naive = add("vision, naive", n, lambda w, n=n: w.rank(w.search("vision", n), "naive"))
            guided = add("vision, guided", n, lambda w, n=n: w.rank(w.search("vision", n), "guided"))
            second = add(
                "vision, sigma_b alone",
                n,
                lambda w, n=n: by_second_score(w.rank(w.search("vision", n), "guided")),
            )
            compare("vision - language", n, "recall_of_unnamed", naive, language)
            compare("guided - naive", n, "top3_precision", guided, naive)
            compare("guided - naive", n, "top3_unnamed", guided, naive)
            compare("sigma_b alone - guided", n, "top3_precision", second, guided)
    popular: list[dict[str, Any]] = []
    for offset in () if given.teachers else OFFSETS:
        found = []
        for scenes in drawn:
            faults = CurationTeacher(word_offsets=0.0, stuff_weight=1.0, popular=offset)
            world = look(scenes, faults, settings)
            near = world.search("vision", 16)
            guided = world.rank(near, "guided")
            orders = {
                "naive": world.rank(near, "naive"),
                "guided": guided,
                "sigma_b alone": by_second_score(guided),
            }
            found.append({kind: popular_rate(world, ranked) for kind, ranked in orders.items()})
        popular.append({"offset": offset, **summed_up(found)})
        print(popular[-1], flush=True)
    content = {
        "command": shlex.join(["python", "benchmarks/accuracy/cocu_archives.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(["numpy", "torch"]),
        "scenes": given.scenes,
        "seeds": list(seeds),
        "teachers": {name: asdict(teacher) for name, teacher in chosen.items()},
        "rows": rows,
        "differences": differences,
        "popular_word": popular,
    }
    (HERE / given.out).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
