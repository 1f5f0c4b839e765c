"""Concept archives of synthetic scenes, made in memory by the functions of ``lexiseg curate``.

What is truly in a scene is known, and so is what its captions leave out: precision and recall of archives need no
training, and small trainings on curated words need no files. Two teachers compare scenes with words:

* *made*: its similarity of a scene and a word is ``LEVEL + offset of the word + GAIN * weight * (root of the class's
  share of the pixels + noise)``, about as CLIP's are, 0.1 to 0.35. Offsets are words that it likes with every image,
  and a lower weight of stuff is what a teacher has that learnt from captions which leave it out.
* *learnt*: it has seen other scenes with their captions and nothing else. Canonical correlations (Hotelling, 1936; the
  linear case of what a contrastive loss learns) of colour histograms and of the words that captions name give the space
  that both are compared in; cosines are put on CLIP's level, since the second score divides by them.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int16, Int64, UInt8

from lexiseg.core.setting_ranges import FACTOR, SHARE, Range, check_ranges
from lexiseg.data.captions.word_prompts import prompted
from lexiseg.data.curation.concept_vocabulary import ConceptVocabulary
from lexiseg.data.curation.drawing_concepts import Sampling, draw_concepts
from lexiseg.data.scenes import scene_batch
from lexiseg.data.scenes.settings import WorldSettings
from lexiseg.data.scenes.world import world_of
from lexiseg.ops.concept_ranking import ConceptLists, RankedConcepts, Ranking, rank_concepts
from lexiseg.ops.neighbours import ArrayRows, ExactSearch, unit_rows
from lexiseg.ops.small_kmeans import cluster_lists

#: Whose captions the concepts of a scene come from.
SceneExpansion = Literal["vision", "language", "random"]
#: Words of captions that a list of nouns has too, and that are never seen.
FILLERS = ("friend", "album", "family", "trip", "afternoon")
#: Similarities: of nothing, and how much a class that fills the image adds.
LEVEL, GAIN = 0.2, 0.25
# Length of the place that all images of the made teacher share.
_COMMON = 0.8
#: Levels of each channel in the histogram that the learnt teacher sees; and what it adds to variances.
COLOUR_LEVELS, _RIDGE = 6, 1e-3
# Scenes of the learnt teacher come from rows of their own.
_TEACHER_ROW = 1 << 39
_DRAWN_TOGETHER = 256
_MOST_SCENES = 10**6


@dataclass(frozen=True, kw_only=True)
class CurationTeacher:
    """Who compares scenes with words.

    Attributes:
        kind: ``made`` knows the truth and has the faults below; ``learnt`` has learnt from captions.
        noise: Of the made one: standard deviation beside square roots of shares of pixels (0.3 for a tenth).
        word_offsets: Of the made one: standard deviation of the words' offsets.
        stuff_weight: Of the made one: how much stuff counts beside things.
        popular: Of the made one: offset of the first word, in place of a drawn one; 0 leaves it.
        num_scenes: Of the learnt one: scenes that it has seen with their captions.
    """

    kind: Literal["made", "learnt"] = "made"
    noise: float = 0.15
    word_offsets: float = 0.03
    stuff_weight: float = 0.4
    popular: float = 0.0
    num_scenes: int = 4000

    def __post_init__(self) -> None:
        ranges = {
            "noise": FACTOR,
            "word_offsets": SHARE,
            "stuff_weight": SHARE,
            "popular": SHARE,
            # Fewer scenes than colours tell nothing of how colours go together.
            "num_scenes": Range(least=COLOUR_LEVELS**3 + 1, most=_MOST_SCENES),
        }
        check_ranges(self, ranges, method="the teacher of curated scenes")


@dataclass(frozen=True, kw_only=True)
class SceneCuration:
    """How the words of scenes are curated.

    Attributes:
        teacher: Who compares scenes with words.
        expansion: Concepts of captions of similar images (``vision``), of captions that match the image
            (``language``), or of any images (``random``: the floor, as many words that are not about the image).
        neighbours: How many of them, the scene itself included.
        ranking: ``guided`` by both scores, ``naive`` by the first.
        sampling: How concepts are drawn at each visit.
    """

    teacher: CurationTeacher = CurationTeacher()
    expansion: SceneExpansion = "vision"
    neighbours: int = 16
    ranking: Ranking = "guided"
    sampling: Sampling = "cluster"

    def __post_init__(self) -> None:
        check_ranges(self, {"neighbours": Range(least=1, most=_MOST_SCENES)}, method="the curation of scenes")


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneSet:
    """A number of scenes: what is there, and what their captions name.

    Attributes:
        seed: Which row of scenes.
        images: RGB.
        captions: One a scene.
        visible: Classes that are there.
        shares: Share of each class in the pixels.
        is_stuff: Of each class.
        vocabulary: Every name of a class, and fillers.
        class_of: Class of each concept; -1 of fillers.
        named: Concepts that each caption names.
    """

    seed: int
    images: UInt8[np.ndarray, "I 3 H W"]
    captions: tuple[str, ...]
    visible: Bool[np.ndarray, "I K"]
    shares: Float[np.ndarray, "I K"]
    is_stuff: Bool[np.ndarray, " K"]
    vocabulary: ConceptVocabulary
    class_of: Int64[np.ndarray, " V"]
    named: ConceptLists

    def __len__(self) -> int:
        return len(self.captions)

    @cached_property
    def said(self) -> Bool[np.ndarray, "I K"]:
        """Return which classes each caption names."""
        said = np.zeros_like(self.visible)
        owners = np.repeat(np.arange(len(self)), np.diff(self.named.offsets))
        classes = self.class_of[self.named.concepts]
        said[owners[classes >= 0], classes[classes >= 0]] = True
        return said


def draw_scene_set(settings: WorldSettings, seed: int, count: int) -> SceneSet:
    """Draw scenes 0 to ``count`` of a row, as training sees them."""
    words = world_of(settings).words
    names = dict.fromkeys([*(name for each in words for name in each.names), *FILLERS])
    vocabulary = ConceptVocabulary(name="scenes", concepts=tuple(names))
    class_of = [next((k for k, each in enumerate(words) if c in each.names), -1) for c in vocabulary.concepts]
    captions: list[str] = []
    images: list[np.ndarray] = []
    visible: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    for start in range(0, count, _DRAWN_TOGETHER):
        batch = scene_batch(
            settings, seed, 0, start, min(start + _DRAWN_TOGETHER, count), count, training=True
        )
        assert batch.label_maps is not None
        assert batch.tags is not None
        assert batch.captions is not None
        images.append(batch.images.numpy())
        captions.extend(batch.captions)
        visible.append(batch.tags.numpy())
        maps = batch.label_maps.numpy().reshape(len(visible[-1]), -1)
        shares.append(np.array([np.bincount(each[each < len(words)], minlength=len(words)) for each in maps]))
    found = [vocabulary.find([caption]) for caption in captions]
    return SceneSet(
        seed=seed,
        images=np.concatenate(images),
        captions=tuple(captions),
        visible=np.concatenate(visible),
        shares=np.concatenate(shares) / settings.size**2,
        is_stuff=np.array([each.is_stuff for each in words]),
        vocabulary=vocabulary,
        class_of=np.array(class_of),
        named=ConceptLists(
            offsets=np.concatenate([[0], np.cumsum([len(each) for each in found])]).astype(np.int64),
            concepts=np.array([number for each in found for number in each], np.int32),
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherView:
    """Scenes as a teacher sees them; unit rows of one space.

    Attributes:
        scenes: What is seen.
        images: One row a scene.
        captions: One row a scene.
        concepts: One row a concept.
    """

    scenes: SceneSet
    images: Float32[np.ndarray, "I D"]
    captions: Float32[np.ndarray, "I D"]
    concepts: Float32[np.ndarray, "V D"]

    def search(self, expansion: SceneExpansion, count: int) -> Int64[np.ndarray, "I N"]:
        """Find the nearest images, or captions, of each scene; or the scene itself and others drawn at random."""
        if expansion == "random":
            number = len(self.scenes)
            rows = np.random.default_rng(self.scenes.seed).integers(0, number, (number, min(count, number)))
            rows[:, 0] = np.arange(number)
            return rows
        index = self.images if expansion == "vision" else self.captions
        return ExactSearch(ArrayRows(index)).search(self.images, min(count, len(self.scenes))).rows

    def rank(self, rows: Int64[np.ndarray, "I N"], ranking: Ranking) -> RankedConcepts:
        """Rank the concepts that captions of these rows name."""
        own = np.arange(len(self.scenes))
        return rank_concepts(
            self.images, own, rows, self.images[rows], self.scenes.named, self.concepts, ranking=ranking
        )


def look(scenes: SceneSet, teacher: CurationTeacher, settings: WorldSettings) -> TeacherView:
    """Make a teacher's vectors of scenes, their captions and all concepts."""
    if teacher.kind == "made":
        return _made(scenes, teacher)
    return _learnt(scenes, learn_from_captions(settings, scenes.seed, teacher.num_scenes))


def _made(scenes: SceneSet, teacher: CurationTeacher) -> TeacherView:
    rng = np.random.default_rng(1000 + scenes.seed)
    weight = np.where(scenes.is_stuff, teacher.stuff_weight, 1.0)
    roots = np.sqrt(scenes.shares)
    shown = weight * (roots + teacher.noise * rng.standard_normal(roots.shape))
    shown *= 0.5 / np.linalg.norm(shown, axis=1).max()  # leaves room for the common place
    gain = GAIN / (0.5 / np.linalg.norm(weight * roots, axis=1).max())
    num_words, num_classes = len(scenes.class_of), len(weight)
    classes = np.where(scenes.class_of[:, None] >= 0, np.eye(num_classes)[scenes.class_of], 0.0)
    classes += 0.05 * rng.standard_normal((num_words, num_classes))  # names of one class differ a little
    likes = LEVEL + teacher.word_offsets * rng.standard_normal(num_words)
    likes[0] = LEVEL + teacher.popular if teacher.popular else likes[0]
    concepts = _unit_by_rest(np.concatenate([gain * classes, likes[:, None] / _COMMON], axis=1), 2)
    images = _unit_by_rest(np.concatenate([shown, np.full((len(shown), 1), _COMMON)], axis=1), 1)
    return TeacherView(scenes=scenes, images=images, captions=_mixed(scenes, concepts), concepts=concepts)


def _unit_by_rest(rows: Float[np.ndarray, "R D"], place: int) -> Float32[np.ndarray, "R D_2"]:
    """Add two places, one of which fills the rows up to unit length: it meets nothing on the other side."""
    rest = np.zeros((len(rows), 2))
    rest[:, place - 1] = np.sqrt(np.maximum(0.0, 1.0 - (rows**2).sum(axis=1)))
    return np.concatenate([rows, rest], axis=1).astype(np.float32)


def _mixed(scenes: SceneSet, concepts: Float32[np.ndarray, "V D"]) -> Float32[np.ndarray, "I D"]:
    """Add up the vectors of what each caption names."""
    owners = np.repeat(np.arange(len(scenes)), np.diff(scenes.named.offsets))
    captions = np.zeros((len(scenes), concepts.shape[1]))
    np.add.at(captions, owners, concepts[scenes.named.concepts])
    return unit_rows((captions + 1e-9).astype(np.float32))


class Lessons(NamedTuple):
    """What the learnt teacher has learnt: the mean histogram, and maps of histograms and of words into the shared space."""

    mean: Float[np.ndarray, " H"]
    of_images: Float[np.ndarray, "H D"]
    concepts: Float[np.ndarray, "V D"]


@lru_cache(maxsize=8)
def learn_from_captions(settings: WorldSettings, seed: int, count: int) -> Lessons:
    """Learn from scenes that nobody trains with or scores.

    Args:
        settings: What the scenes are made with.
        seed: Which row of them.
        count: How many.
    """
    school = draw_scene_set(settings, _TEACHER_ROW + seed, count)
    histograms, words = colour_histograms(school.images), _bags(school)
    mean, mean_words = histograms.mean(axis=0), words.mean(axis=0)
    of_images, of_words = _whitening(histograms - mean), _whitening(words - mean_words)
    shared = of_images.T @ (histograms - mean).T @ (words - mean_words) @ of_words / count
    left, values, right = np.linalg.svd(shared, full_matrices=False)
    concepts = (np.eye(len(mean_words)) - mean_words) @ of_words @ right.T * np.sqrt(values)
    return Lessons(mean=mean, of_images=of_images @ left * np.sqrt(values), concepts=concepts)


def _learnt(scenes: SceneSet, lessons: Lessons) -> TeacherView:
    images = (colour_histograms(scenes.images) - lessons.mean) @ lessons.of_images
    levelled = [np.sqrt(GAIN) * unit_rows(rows.astype(np.float32)) for rows in (images, lessons.concepts)]
    images, concepts = (
        _unit_by_rest(np.concatenate([rows, np.full((len(rows), 1), np.sqrt(LEVEL))], axis=1), place)
        for rows, place in zip(levelled, (1, 2), strict=True)
    )
    return TeacherView(scenes=scenes, images=images, captions=_mixed(scenes, concepts), concepts=concepts)


def _bags(scenes: SceneSet) -> Float[np.ndarray, "I V"]:
    bags = np.zeros((len(scenes), len(scenes.vocabulary)))
    bags[np.repeat(np.arange(len(scenes)), np.diff(scenes.named.offsets)), scenes.named.concepts] = 1.0
    return bags


def _whitening(rows: Float[np.ndarray, "I D"]) -> Float[np.ndarray, "D D"]:
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    return vectors / np.sqrt(np.maximum(values, 0.0) + _RIDGE * values.mean())


def colour_histograms(images: UInt8[np.ndarray, "I 3 H W"]) -> Float[np.ndarray, "I 216"]:
    """Return square roots of the shares of 6 × 6 × 6 colours in the pixels of each image."""
    flat = colour_numbers(images).reshape(len(images), -1)
    counts = [np.bincount(row, minlength=COLOUR_LEVELS**3) for row in flat]
    return np.sqrt(np.array(counts) / flat.shape[1])


def colour_numbers(images: UInt8[np.ndarray, "I 3 H W"]) -> Int64[np.ndarray, "I H W"]:
    """Return which of the 6 × 6 × 6 colours each pixel has."""
    levels = images.astype(np.int64) * COLOUR_LEVELS >> 8
    return (levels[:, 0] * COLOUR_LEVELS + levels[:, 1]) * COLOUR_LEVELS + levels[:, 2]


class SceneConcepts:
    """Draws curated concepts of a scene and makes sentences of them. Crosses process borders.

    Args:
        scenes: The set that is trained on; its images are not kept.
        settings: What they were made with.
        curation: How their words are curated.
        count: Sentences a scene; the caption stands in for concepts that are missing.
        prompts: Name of the prompt set that templates are drawn from.
    """

    def __init__(
        self, scenes: SceneSet, settings: WorldSettings, curation: SceneCuration, *, count: int, prompts: str
    ) -> None:
        view = look(scenes, curation.teacher, settings)
        ranked = view.rank(view.search(curation.expansion, curation.neighbours), curation.ranking)
        self.concepts = scenes.vocabulary.concepts
        self.lists, self.scores = ranked.lists, ranked.scores
        self.clusters: Int16[np.ndarray, " S"] = cluster_lists(ranked.lists, view.concepts)
        self.curation, self.count, self.prompts = curation, count, prompts

    def __call__(self, source: str, caption: str, rng: np.random.Generator) -> tuple[str, ...]:
        """Return ``count`` sentences of the scene whose number ends ``source``."""
        scene = int(source.rpartition("-")[2])
        here = slice(self.lists.offsets[scene], self.lists.offsets[scene + 1])
        clusters = self.clusters[here]
        drawn = draw_concepts(
            self.scores[here],
            clusters if len(clusters) > 2 else None,
            rng,
            sampling=self.curation.sampling,
            count=self.count,
        )
        words = [self.concepts[self.lists[scene][place]] for place in drawn]
        return prompted(words, caption, rng, count=self.count, prompts=self.prompts)

    def describe(self) -> str:
        """Say how concepts were found and are drawn."""
        return f"curated concepts of scenes, {self.curation!r}"

    def __repr__(self) -> str:
        return f"SceneConcepts({self.describe()}, {len(self.lists)}, {self.count}, {self.prompts})"
