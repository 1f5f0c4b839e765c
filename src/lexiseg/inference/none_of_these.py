"""None of these: how often words that are not in an image score as high as the words that were asked for.

A segmenter gives every pixel the best of the words, however bad that is. What "bad" is, on a model's own scale, can
be measured without a label: words that name rare things are in next to no photograph, so their scores on any photographs
are scores of words that are not there. Against these, a score becomes a chance: the chance that the best of as many
absent words scores as high. A large one says that the image may show none of the words; it does not say that it does.

The measure goes by what was decided, not by how, and so is the same for every method. It holds for photographs like those
it was fitted on, seen whole: tiled images are not judged.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.core.json_text import decode_json, read_json_file
from lexiseg.core.segmentation import DOUBTFUL_FROM
from lexiseg.data.images import ImageSource
from lexiseg.inference.decision import Decision
from lexiseg.inference.settings import ENCODING_FIELDS, InferenceSettings

if TYPE_CHECKING:
    from lexiseg.inference.segmenter import Segmenter

#: Things that are in next to no photograph.
ABSENT_WORDS = (
    "abacus", "accordion", "anvil", "astrolabe", "bagpipe", "barometer", "bassoon", "bellows", "bobsled", "cannon",
    "catapult", "cello", "chainmail", "chameleon", "cockatoo", "corkscrew", "crossbow", "dogsled", "drawbridge",
    "dynamo", "gargoyle", "gondola", "gong", "guillotine", "harp", "harpoon", "hourglass", "igloo", "iron lung",
    "jellyfish", "joystick", "kimono", "lighthouse", "loom", "lute", "mandolin", "marimba", "metronome", "microscope",
    "nautilus", "oboe", "octopus", "oscilloscope", "padlock", "pagoda", "pangolin", "periscope", "platypus", "pyramid",
    "quill", "radar", "rickshaw", "sarcophagus", "scorpion", "sextant", "snowmobile", "spacecraft", "spinning wheel",
    "stethoscope", "sundial", "syringe", "tambourine", "telescope", "toucan", "tractor", "trilobite", "trombone",
    "typewriter", "walrus", "weather vane", "windmill", "xylophone", "yak", "yurt", "zeppelin",
)  # fmt: skip

#: Words that compete at a time while scores are gathered.
COMPETING = 4

#: Share of an image's pixels that score higher than its score: its best part, not its best pixel.
_BEST_PART = 0.02

_LEVELS = np.concatenate([np.linspace(0, 0.98, 99), [0.985, 0.99, 0.995, 0.998, 1.0]])
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class AbsentScores:
    """Scores of words that are not there, as quantiles at ``_LEVELS``.

    Attributes:
        image: Of the best part of each image.
        pixels: Of single pixels.
        num_images: How many photographs they come from.
        made_with: The settings that scores depend on.
    """

    image: tuple[float, ...] = field(repr=False)
    pixels: tuple[float, ...] = field(repr=False)
    num_images: int
    made_with: Mapping[str, Any] = field(repr=False)

    def fits(self, model: "Segmenter", settings: InferenceSettings) -> bool:
        """Return whether scores of this model with these settings are on the scale that was measured."""
        return self.made_with == scale_of(model, settings)

    def image_chance(self, scores: Float32[np.ndarray, "H W"], num_words: int) -> float:
        """Return the chance that the best of as many absent words scores as high in an image as these do."""
        return float(_chance(np.array([best_part(scores)]), self.image, num_words)[0])

    def pixel_chances(self, scores: Float32[np.ndarray, "*S"], num_words: int) -> Float64[np.ndarray, "*S"]:
        """Return that chance for single pixels."""
        return _chance(scores, self.pixels, num_words)

    def doubtful_score(self, num_words: int) -> float:
        """Return the pixel score up to which the chance is above ``DOUBTFUL_FROM``."""
        wanted = (1 - DOUBTFUL_FROM) ** (COMPETING / num_words)
        return float(np.interp(wanted, _LEVELS, self.pixels))

    def save(self, path: Path) -> None:
        """Write them as JSON.

        Raises:
            OutputError: The folder cannot be written.
        """
        with atomic_path(path) as temporary:
            text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "AbsentScores | None":
        """Read what ``save`` wrote; None where there is no such file, or it is damaged: nothing is judged then."""
        try:
            content = read_json_file(path)
            if content.pop("format") != _FORMAT:
                return None
            for name in ("image", "pixels"):
                quantiles = np.asarray(content[name], np.float64)
                if quantiles.shape != _LEVELS.shape or not (np.diff(quantiles) >= 0).all():  # NaN is never
                    return None
                content[name] = tuple(quantiles.tolist())
            found = cls(**content)
            return found if isinstance(found.made_with, dict) and np.isfinite(quantiles).all() else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None


def refuse_unmeasured(model: "Segmenter", settings: InferenceSettings) -> None:
    """Refuse to label what is none of the words where nothing tells it, before anything is encoded.

    Raises:
        InputError: Scores of absent words were not measured for the model with these settings.
    """
    measured = model.absent_scores
    if settings.none_of_these != "label" or model.tells_unknown:
        return
    if measured is None or not measured.fits(model, settings):
        raise InputError(
            doing=f"labelling what is none of the words with {model.name}",
            found="a model whose scores of absent words were not measured with these settings",
            expected="that measure: without it no score says that a word is not there",
            fix=f"Run: lexiseg calibrate {model.name} --none PHOTOS; or leave out --unknown.",
        )


def judge(
    model: "Segmenter", decision: Decision, num_words: int, settings: InferenceSettings, *, is_tiled: bool
) -> tuple[float | None, Bool[np.ndarray, "H W"] | None]:
    """Return the chance that absent words score so in an image, and the pixels that are none of the words.

    None for a chance that was not measured, and where no pixel is pointed out.

    Args:
        model: What decided.
        decision: What it decided.
        num_words: How many classes competed.
        settings: Of this image.
        is_tiled: Whether the image was seen in another way than those that were measured.
    """
    if settings.none_of_these == "off":
        return None, None
    measured = model.absent_scores
    if measured is None or is_tiled or not measured.fits(model, settings):
        return None, decision.unknown
    chance = measured.image_chance(decision.scores, num_words)
    # Single pixels score low where a word is there, too: they are pointed out where the whole image is doubtful.
    if settings.none_of_these == "note" and chance <= DOUBTFUL_FROM:
        return chance, decision.unknown
    unknown = decision.scores <= measured.doubtful_score(num_words)
    return chance, unknown if decision.unknown is None else unknown | decision.unknown


def best_part(scores: Float32[np.ndarray, "H W"]) -> float:
    """Return the score that an image's best part reaches: all but ``_BEST_PART`` of its pixels score less."""
    return float(np.quantile(scores, 1 - _BEST_PART))


def scale_of(model: "Segmenter", settings: InferenceSettings) -> dict[str, Any]:
    """Return what the scale of scores depends on, as plain values: the method, how images are seen, the sentences."""
    facts = {
        "method": hashlib.sha256(
            json.dumps(dict(model.scale_settings), sort_keys=True, default=str).encode()
        ).hexdigest(),
        **{name: getattr(settings, name) for name in ENCODING_FIELDS if name != "tiles"},
        **{name: getattr(settings, name) for name in ("prompts", "synonyms", "refine")},
    }
    return decode_json(json.dumps(facts))


def fit_absent_scores(
    model: "Segmenter",
    images: Iterable[ImageSource],
    *,
    words: Sequence[str] = ABSENT_WORDS,
    draws: int = 8,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> AbsentScores:
    """Measure what words score that are not there.

    Every image is encoded once and labelled with ``draws`` random lists of ``COMPETING`` of the words. Words that the model
    has nothing for, as a bank of references has for most, are left out.

    Args:
        model: The segmenter, with its own settings.
        images: Photographs, without any label; a hundred give steady numbers.
        words: Names of things that none of them shows.
        draws: Lists of words an image.
        seed: Of the lists.
        advance: Called after each image.

    Raises:
        InputError: There are too few images or words, or the model has classes of its own.
    """
    rng = np.random.default_rng(seed)
    of_images: list[float] = []
    of_pixels: list[Float32[np.ndarray, " n"]] = []
    num_images = 0
    known = [word for word in words if model.vocabulary is None and _can_label(model, word)]
    if len(known) < COMPETING:
        raise InputError(
            doing=f"measuring what absent words score with {model.name}",
            found=f"{len(known)} of {len(words)} words that it can label with"
            if model.vocabulary is None
            else "a model with a fixed list of classes",
            expected=f"at least {COMPETING} words, and a model that takes any",
            fix='Give words that the model knows and the photographs do not show: --words "a, b, c, d"; or another model.',
        )
    for image in images:
        encoded = model.encode(image, tiles="off")
        num_images += 1
        for _ in range(draws):
            chosen = [known[place] for place in rng.choice(len(known), COMPETING, replace=False)]
            scores = model.segment(encoded, chosen, none_of_these="off").score_map
            of_images.append(best_part(scores))
            of_pixels.append(rng.choice(scores.ravel(), 256))
        advance()
    if num_images < 2:
        raise InputError(
            doing=f"measuring what absent words score with {model.name}",
            found=f"{num_images} photographs",
            expected="two or more; a hundred give steady numbers",
            fix="Name a folder with more photographs.",
        )
    return AbsentScores(
        image=_quantiles(np.array(of_images)),
        pixels=_quantiles(np.concatenate(of_pixels)),
        num_images=num_images,
        made_with=scale_of(model, model.settings),
    )


def _can_label(model: "Segmenter", word: str) -> bool:
    try:
        model.name_classes([word], model.settings)
    except VocabularyError:
        return False
    return True


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in np.quantile(values.astype(np.float64), _LEVELS))


def _chance(scores: np.ndarray, quantiles: Sequence[float], num_words: int) -> Float64[np.ndarray, "*S"]:
    """Return one minus the share of absent words' scores below, for the best of ``num_words``."""
    # How many quantiles are below, not up to: a score that many absent words have is no better than theirs.
    places = np.searchsorted(np.asarray(quantiles), scores, side="left")
    below = _LEVELS[np.maximum(places, 1) - 1]
    return 1 - below ** (num_words / COMPETING)
