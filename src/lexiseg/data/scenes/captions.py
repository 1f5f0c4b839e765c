"""Sentences about scenes: some of the classes that are there, among words that say nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lexiseg.data.scenes.random_numbers import Draws
from lexiseg.data.scenes.settings import WorldSettings

_OPENINGS = (
    "a photo of", "a picture of", "an image of", "there is", "here we see", "this shows", "we found",
    "look at", "a close view of", "my favourite shot of", "one more view of",
)  # fmt: skip
_ADJECTIVES = (
    "nice", "lovely", "famous", "typical", "strange", "ordinary", "simple", "modern", "humble", "curious",
    "pretty", "popular",
)  # fmt: skip
_JOINERS = ("and", "near", "next to", "beside", "with", "close to", "together with")
_BEFORE_STUFF = ("on", "in front of", "with some", "against", "over")
_CLOSINGS = (
    "taken yesterday", "in the afternoon", "for the family album", "seen from here", "on a quiet day",
    "during our trip", "by a friend", "as usual", "in high quality", "from last summer",
)  # fmt: skip

#: Words of captions that name no class.
FILLERS = frozenset(
    word
    for phrase in (*_OPENINGS, *_ADJECTIVES, *_JOINERS, *_BEFORE_STUFF, *_CLOSINGS, "a an the")
    for word in phrase.split()
)

_PURPOSE = 6


@dataclass(frozen=True, kw_only=True)
class ClassWords:
    """How one class is spoken of.

    Attributes:
        names: The class name, then its synonyms.
        is_stuff: Whether it has no article and follows a preposition.
        chance: Chance that it is named where it is visible; background is never named.
    """

    names: tuple[str, ...]
    is_stuff: bool
    chance: float


def write_captions(
    settings: WorldSettings, words: Sequence[ClassWords], areas: np.ndarray, key: int, count: int
) -> tuple[str, ...]:
    """Write ``count`` captions of one scene.

    Args:
        settings: How often classes are named, and the words around them.
        words: One entry a label.
        areas: Visible pixels of each label.
        key: As ``random_numbers.scene_key`` gave it.
        count: Number of captions, each drawn on its own.
    """
    visible = [label for label in np.flatnonzero(areas).tolist() if words[label].chance >= 0.0]
    visible.sort(key=lambda label: -areas[label])
    return tuple(
        _write(settings, words, visible, Draws(key, _PURPOSE + 1000 * number)) for number in range(count)
    )


def _write(settings: WorldSettings, words: Sequence[ClassWords], visible: Sequence[int], draws: Draws) -> str:
    coins = [draws.unit() < words[label].chance for label in visible]
    named = [label for label, coin in zip(visible, coins, strict=True) if coin]
    missing = settings.min_named - len(named)
    if missing > 0:
        added = [label for label, coin in zip(visible, coins, strict=True) if not coin][:missing]
        named = [label for label in visible if label in named or label in added]
    # Shuffled, stuffs last: the order of the words says nothing of sizes.
    order = sorted((words[label].is_stuff, draws.unit(), label) for label in named[: settings.max_named])
    parts: list[str] = []
    if settings.caption_prefix != "none":
        parts.append(_OPENINGS[0] if settings.caption_prefix == "photo" else draws.one_of(_OPENINGS))
    for place, (is_stuff, _, label) in enumerate(order):
        if is_stuff and (place > 0 or settings.caption_prefix == "none"):
            parts.append(draws.one_of(_BEFORE_STUFF) if place == 0 or not order[place - 1][0] else "and")
        elif place > 0:
            parts.append(draws.one_of(_JOINERS))
        names = words[label].names
        name = names[0]
        if len(names) > 1 and draws.unit() < settings.synonym_rate:
            name = draws.one_of(names[1:])
        if draws.unit() < settings.adjective_rate:
            name = f"{draws.one_of(_ADJECTIVES)} {name}"
        parts.append(name if is_stuff else f"{_article(name)} {name}")
    if not order:
        parts.append(draws.one_of(("the usual", "one more view", "a nice afternoon")))
    if draws.unit() < settings.closing_rate:
        parts.append(draws.one_of(_CLOSINGS))
    return " ".join(parts)


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" or name.startswith("hour") else "a"
