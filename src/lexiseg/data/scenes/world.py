"""World: settings turned into what scenes are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import VocabularyError
from lexiseg.core.vocabulary import Vocabulary, names_by_hash
from lexiseg.data.scenes.captions import ClassWords
from lexiseg.data.scenes.class_table import FAMILIES, PATTERNS, STUFFS, THINGS
from lexiseg.data.scenes.cutouts import Cutouts, read_cutouts
from lexiseg.data.scenes.painting import Tables
from lexiseg.data.scenes.settings import PasteSettings, SceneSettings, WorldSettings
from lexiseg.data.scenes.textures import noise_tables

_NEVER_NAMED = -1.0

#: Names of classes, each with its synonyms.
Described: TypeAlias = list[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """What scenes are drawn from.

    Attributes:
        vocabulary: Classes by label.
        words: How each label is spoken of.
        tables: For the kernel.
        training_tables: The same for training data, where unseen classes may be absent.
        content: Hash of the cut-outs; empty for procedural scenes.
    """

    vocabulary: Vocabulary
    words: tuple[ClassWords, ...]
    tables: Tables
    training_tables: Tables
    content: str


@lru_cache(maxsize=16)
def world_of(settings: WorldSettings) -> World:
    """Build the world of some settings; cut-outs are read once a process.

    Raises:
        InputError: The settings name classes that are not there, or contradict themselves.
        DatasetError: A folder of cut-outs cannot be used.
    """
    things: Described
    cutouts = read_cutouts(settings) if isinstance(settings, PasteSettings) else None
    if cutouts is not None:
        things = [(name, cutouts.synonyms[k]) for k, name in enumerate(cutouts.names)]
    else:
        assert isinstance(settings, SceneSettings)
        things = [(thing.name, (thing.synonym,)) for thing in THINGS[: settings.num_things]]
    textures = _textures(settings, [name for name, _ in things])
    stuffs: Described = [(STUFFS[texture].name, (STUFFS[texture].synonym,)) for texture in textures]
    words, thing_labels, stuff_labels = _label(settings, things, stuffs)
    names = [entry.names[0] for entry in words]
    in_play = [name for name, entry in zip(names, words, strict=True) if entry.chance != _NEVER_NAMED]
    if cutouts is not None:
        in_play = [name for name, _ in things]
    unseen = _unseen(settings, in_play)
    vocabulary = Vocabulary(
        names=tuple(names),
        synonyms=tuple(entry.names[1:] if settings.synonym_rate else () for entry in words),
        seen=frozenset(k for k, name in enumerate(names) if name not in unseen) if unseen else None,
    )
    tables = _tables(settings, [name for name, _ in things], textures, thing_labels, stuff_labels, cutouts)
    training_tables = tables
    if unseen and settings.unseen_in_training == "absent":
        training_tables = tables._replace(
            thing_weights=tables.thing_weights * [name not in unseen for name, _ in things],
            stuff_weights=tables.stuff_weights * [name not in unseen for name, _ in stuffs],
        )
        _refuse_too_few(settings, training_tables)
    content = cutouts.content if cutouts is not None else ""
    return World(
        vocabulary=vocabulary,
        words=words,
        tables=tables,
        training_tables=training_tables,
        content=content,
    )


def _textures(settings: WorldSettings, things: Sequence[str]) -> list[int]:
    """Choose the first stuffs whose names no thing has: among cut-outs, there may be a rock."""
    taken = {name.casefold() for name in things}
    free = [k for k, stuff in enumerate(STUFFS) if stuff.name not in taken]
    if len(free) < settings.num_stuffs:
        raise settings.refuse(
            f"num_stuffs = {settings.num_stuffs}, and {len(STUFFS) - len(free)} stuffs whose names things have",
            f"at most {len(free)}",
            "Lower num_stuffs.",
        )
    return free[: settings.num_stuffs]


def _label(
    settings: WorldSettings, things: Described, stuffs: Described
) -> tuple[tuple[ClassWords, ...], list[int], list[int]]:
    chances = dict(settings.class_mention_rates)
    known = [name for name, _ in (*things, *stuffs)]
    for name in chances:
        _find(settings, name, known, "class_mention_rates")
    words = []
    if settings.stuff_as == "background":
        words.append(ClassWords(names=("background",), is_stuff=True, chance=_NEVER_NAMED))
    thing_labels = list(range(len(words), len(words) + len(things)))
    for name, more in things:
        chance = chances.get(name, settings.mention_rate)
        words.append(ClassWords(names=(name, *more), is_stuff=False, chance=chance))
    if settings.stuff_as != "classes":
        return (
            tuple(words),
            thing_labels,
            [{"background": 0, "void": IGNORE_INDEX}[settings.stuff_as]] * len(stuffs),
        )
    stuff_labels = list(range(len(words), len(words) + len(stuffs)))
    for name, more in stuffs:
        chance = chances.get(name, settings.stuff_mention_rate)
        words.append(ClassWords(names=(name, *more), is_stuff=True, chance=chance))
    return tuple(words), thing_labels, stuff_labels


def _unseen(settings: WorldSettings, names: Sequence[str]) -> frozenset[str]:
    if settings.unseen:
        unseen = frozenset(names[_find(settings, name, names, "unseen")] for name in settings.unseen)
    else:
        unseen = frozenset(names_by_hash(names)[: round(settings.unseen_share * len(names))])
    if len(unseen) == len(names):
        raise settings.refuse(
            f"all {len(names)} classes unseen", "one or more seen classes", "Leave some names out of unseen."
        )
    return unseen


def _find(settings: WorldSettings, name: str, names: Sequence[str], field: str) -> int:
    try:
        return Vocabulary(names=tuple(names)).index(name)
    except VocabularyError as error:
        raise settings.refuse(
            f"the class {name!r} in {field}, which is not in these scenes",
            error.expected,
            "Check the spelling, or raise the number of classes.",
        ) from error


def _tables(
    settings: WorldSettings,
    things: Sequence[str],
    textures: Sequence[int],
    thing_labels: Sequence[int],
    stuff_labels: Sequence[int],
    cutouts: Cutouts | None,
) -> Tables:
    families = list(FAMILIES)
    weights = np.ones(len(things))
    common = -1
    if settings.common_class is not None:
        common = _find(settings, settings.common_class, things, "common_class")
        weights[common] = 0.0
    pairs = [tuple(_find(settings, name, things, "pairs") for name in row[:2]) for row in settings.pairs]
    if common in {thing for pair in pairs for thing in pair} or any(a == b for a, b in pairs):
        raise settings.refuse(
            "a pair with the common class, or of a class with itself",
            "pairs of two other things",
            "Take other classes.",
        )
    looks = np.zeros((0, 3))
    if cutouts is None:
        looks = np.array([
            (PATTERNS.index(thing.pattern), families.index(thing.family), thing.tilt)
            for thing in THINGS[: len(things)]
        ])  # fmt: skip
    is_paste = isinstance(settings, PasteSettings)
    return Tables(
        size=settings.size,
        thing_weights=weights,
        thing_labels=np.array(thing_labels, np.int64),
        thing_looks=looks,
        families=np.array(list(FAMILIES.values()), np.float64),
        cutouts=cutouts.images if cutouts else np.zeros((0, 1, 1, 4), np.uint8),
        cutout_rows=cutouts.rows if cutouts else np.zeros((len(things), 2), np.int64),
        stuff_weights=np.ones(len(textures)),
        stuff_labels=np.array(stuff_labels, np.int64),
        stuff_looks=np.array(
            [(*STUFFS[k].first, *STUFFS[k].second, STUFFS[k].height, k) for k in textures], np.float64
        ),
        common=common,
        common_frequency=float(settings.common_frequency),
        pairs=np.array(pairs, np.int64).reshape(-1, 2),
        pair_chances=np.array([float(chance) for _, _, chance in settings.pairs], np.float64),
        counts=np.array((*settings.things_per_scene, *settings.stuffs_per_scene), np.int64),
        thing_size=np.array(settings.thing_size, np.float64),
        overlap=float(settings.overlap),
        tilt=float(settings.tilt) if isinstance(settings, PasteSettings) else 0.0,
        mirrored=isinstance(settings, PasteSettings) and settings.mirrored,
        colour_jitter=float(
            settings.light_jitter if isinstance(settings, PasteSettings) else _scenes(settings).colour_jitter
        ),
        random_colour_rate=0.0 if is_paste else float(_scenes(settings).random_colour_rate),
        void_share=float(settings.void_share),
        min_pixels=settings.min_pixels,
        noise=float(settings.noise),
        texture_noise=noise_tables(),
    )


def _scenes(settings: WorldSettings) -> SceneSettings:
    assert isinstance(settings, SceneSettings)
    return settings


def _refuse_too_few(settings: WorldSettings, tables: Tables) -> None:
    left = {
        "things": (int((tables.thing_weights > 0).sum()) + (tables.common >= 0), int(tables.counts[1])),
        "stuffs": (int((tables.stuff_weights > 0).sum()), int(tables.counts[3])),
    }
    for kind, (there, needed) in left.items():
        if there < needed:
            raise settings.refuse(
                f"{there} seen {kind} for training scenes without unseen classes",
                f"at least {needed}, as many as a scene may hold",
                f"Make fewer {kind} unseen, or use unseen_in_training = 'hidden'.",
            )
