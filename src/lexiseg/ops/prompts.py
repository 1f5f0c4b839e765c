"""Prompt sets: the sentences a class name is put into before it is encoded.

Embeddings depend on spelling, so counts, articles and full stops are the ones each source used.
"""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """Templates, and how their embeddings become one class embedding.

    Attributes:
        name: Key in ``PROMPT_SETS``.
        templates: Sentences with ``{}`` for the name and, where ``spelling`` is ``vild``,
            ``{article}`` for "a" or "an".
        ensemble: ``normalised`` makes every template's embedding unit length, averages, and
            normalises again; ``raw`` averages the embeddings as they are and normalises once.
        spelling: ``as_written`` leaves the name alone; ``vild`` turns underscores into spaces,
            slashes into " or ", and everything into lower case.
    """

    name: str
    templates: tuple[str, ...]
    ensemble: Literal["normalised", "raw"] = "normalised"
    spelling: Literal["as_written", "vild"] = "as_written"


def find_prompt_set(name: str) -> PromptSet:
    """Return the prompt set of that name.

    Raises:
        UnknownNameError: There is none; the message lists all.
    """
    if name not in PROMPT_SETS:
        raise UnknownNameError.of("prompt set", name, PROMPT_SETS)
    return PROMPT_SETS[name]


def fill(prompt_set: PromptSet, name: str) -> list[str]:
    """Put a class name into every template, in the set's order.

    The name is inserted verbatim: braces, quotes and slashes in it mean nothing.
    """
    return [fill_one(prompt_set, name, index) for index in range(len(prompt_set.templates))]


def fill_one(prompt_set: PromptSet, name: str, index: int) -> str:
    """Put a class name into one template of a set."""
    article = ""
    if prompt_set.spelling == "vild":
        name = name.replace("_", " ").replace("/", " or ").lower()
        # The first letter decides, as in ViLD: "an umbrella", but also "an unicycle", "a hourglass".
        article = "an" if name[:1] in ("a", "e", "i", "o", "u") else "a"
    # Article first and name last: a name is never searched for placeholders.
    return prompt_set.templates[index].replace("{article}", article).replace("{}", name)


def _each(pattern: str, *words: str) -> tuple[str, ...]:
    return tuple(pattern.replace("*", word) for word in words)


def _both(patterns: tuple[str, ...], first: str = "a") -> tuple[str, ...]:
    return tuple(pattern.replace("ART", article) for pattern in patterns for article in (first, "the"))


# The 80 templates for ImageNet (Radford et al., "Learning Transferable Visual Models From
# Natural Language Supervision", 2021). The article stays "a" everywhere: "a origami {}.".
_IMAGENET_80 = (
    *_each("a photo of * {}.", "a", "the", "one", "many", "my"),
    *_both(
        _each(
            "a photo of ART * {}.",
            *("hard to see", "clean", "dirty", "cool", "nice", "weird", "small", "large"),
        )
    ),
    *_both(
        _each(
            "a * photo of ART {}.",
            *("bad", "low resolution", "cropped", "bright", "dark", "close-up"),
            *("black and white", "pixelated", "jpeg corrupted", "blurry", "good"),
        )
    ),
    *_both(
        _each(
            "* of ART {}.",
            *("a sculpture", "a rendering", "graffiti", "a tattoo", "a drawing"),
            *("a painting", "a doodle", "a sketch", "a rendition", "art"),
        )
    ),
    *_both(_each("ART * {}.", "embroidered", "plastic", "origami", "toy", "cartoon", "plushie")),
    *_both(("ART {} in a video game.",)),
    *_each("itap of * {}.", "a", "my", "the"),
)

# Forward selection over the 80, by the authors of CLIP.
_OPENAI_7 = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

# GroupViT (CVPR 2022) has "of a" where the original has "of the".
_GROUPVIT_7 = tuple(text.replace("a bad photo of the", "a bad photo of a") for text in _OPENAI_7)

# ViLD (Gu et al., ICLR 2022) as shortened by its followers: sentences 2 to 5 have no full stop.
_VILD_14 = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    *_each("a photo of a * {}.", "small", "medium", "large"),
    *_each("This is a photo of a * {}.", "small", "medium", "large"),
    *_each("There is a * {} in the scene.", "small", "medium", "large"),
)

_VILD_63 = (
    "There is {article} {} in the scene.",
    "There is the {} in the scene.",
    *_each("a photo of * {} in the scene.", "{article}", "the", "one"),
    *_each("itap of * {}.", "{article}", "my", "the"),
    *_each("a photo of * {}.", "{article}", "my", "the", "one", "many"),
    *_both(_each("a * photo of ART {}.", "good", "bad"), "{article}"),
    *_both(
        _each(
            "a photo of ART * {}.",
            *("nice", "cool", "weird", "small", "large", "clean", "dirty", "hard to see"),
        )
    ),
    *_both(
        _each(
            "a * photo of ART {}.",
            *("bright", "dark", "low resolution", "cropped", "close-up"),
            *("jpeg corrupted", "blurry", "pixelated", "black and white"),
        ),
        "{article}",
    ),
    *_both(_each("ART * {}.", "plastic", "toy", "plushie", "cartoon")),
    *("an embroidered {}.", "the embroidered {}."),
    *("a painting of the {}.", "a painting of a {}."),
)

_SETS = (
    PromptSet(name="bare", templates=("{}",)),
    PromptSet(name="single", templates=("a photo of a {}.",)),
    PromptSet(name="imagenet80", templates=_IMAGENET_80),
    PromptSet(name="openai7", templates=_OPENAI_7),
    PromptSet(name="groupvit7", templates=_GROUPVIT_7, ensemble="raw"),
    # TCL (CVPR 2023): GroupViT's seven and two plural forms.
    PromptSet(
        name="tcl9", templates=(*_GROUPVIT_7, "a photo of many {}.", "a photo of {}s."), ensemble="raw"
    ),
    # MaskCLIP (ECCV 2022): the 80 and five sentences about scenes.
    PromptSet(
        name="maskclip85",
        templates=(
            *_IMAGENET_80,
            *_each("there is * {} in the scene.", "a", "the"),
            *_each("this is * {} in the scene.", "a", "the", "one"),
        ),
    ),
    PromptSet(name="vild14", templates=_VILD_14),
    PromptSet(name="vild63", templates=_VILD_63, spelling="vild"),
)

#: Every prompt set by name.
PROMPT_SETS: dict[str, PromptSet] = {prompt_set.name: prompt_set for prompt_set in _SETS}
