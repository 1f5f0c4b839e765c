"""Settings of synthetic scenes, procedural (SceneSettings) and pasted from cut-outs (PasteSettings), and presets by name."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.data.scenes.class_table import STUFFS, THINGS

#: Places for things and stuffs in one scene.
MAX_THINGS, MAX_STUFFS = 8, 4

_SHARES = (
    *("overlap", "common_frequency", "mention_rate", "stuff_mention_rate", "adjective_rate", "closing_rate"),
    *("synonym_rate", "unseen_share", "void_share", "noise"),
)


@dataclass(frozen=True, kw_only=True)
class WorldSettings(ABC):
    """What procedural scenes and paste scenes have in common. All shares and rates are in [0, 1].

    Attributes:
        size: Height and width of a scene in pixels, 32 to 256.
        num_stuffs: Number of stuff classes, the first of ``class_table.STUFFS``, 1 to 12.
        things_per_scene: Smallest and largest number of things in a scene, 0 to 8; each is of another class.
        stuffs_per_scene: Smallest and largest number of stuffs, which tile the scene, 1 to 4.
        thing_size: Smallest and largest diameter of a thing, as a share of the scene's side, 0.05 to 1.
        overlap: Overlap allowed between things: 0 hardly any, 1 any. A later thing is in front.
        common_class: Name of a thing that is in almost all scenes, as people are in photographs; None for
            none.
        common_frequency: Share of scenes that it is in.
        pairs: Pairs of things that go together: two names, and the probability that both are there where
            either is.
        mention_rate: Probability that a visible thing is mentioned in a caption.
        stuff_mention_rate: Probability that a visible stuff is mentioned in a caption.
        class_mention_rates: Classes with a probability of their own: name and probability.
        min_named: Smallest number of classes mentioned in a caption; the largest in the scene are added.
        max_named: Largest number of classes mentioned in a caption; the largest in the scene are kept.
        captions_per_scene: Number of captions of a scene, each drawn on its own, 1 to 100.
        caption_prefix: Beginning of captions: one of many wordings (``varied``), "a photo of" (``photo``), or
            the first class (``none``).
        adjective_rate: Probability of an uninformative adjective before a class name.
        closing_rate: Probability of an uninformative closing phrase.
        synonym_rate: Probability that a class is mentioned by a synonym.
        unseen: Names of the unseen classes; empty to use ``unseen_share``.
        unseen_share: Share of the classes that is unseen; larger shares contain smaller ones. 0 for no split.
        unseen_in_training: Unseen classes in training data: ``hidden`` (their pixels are void; captions and
            tags still name them), ``labelled``, or ``absent`` (never drawn).
        stuff_as: Labels of stuff: ``classes`` of their own, one class ``background`` (label 0), or ``void``.
        void_share: Share of pixels that are void: small squares at random places.
        min_pixels: Number of visible pixels below which a class is void, and in neither tags nor captions.
        noise: Strength of grain over the whole scene, as a share of full contrast.
    """

    size: int = 64
    num_stuffs: int = 6
    things_per_scene: tuple[int, int] = (1, 3)
    stuffs_per_scene: tuple[int, int] = (1, 2)
    thing_size: tuple[float, float] = (0.3, 0.5)
    overlap: float = 0.25
    common_class: str | None = None
    common_frequency: float = 0.9
    pairs: tuple[tuple[str, str, float], ...] = ()
    mention_rate: float = 0.8
    stuff_mention_rate: float = 0.4
    class_mention_rates: tuple[tuple[str, float], ...] = ()
    min_named: int = 1
    max_named: int = 4
    captions_per_scene: int = 1
    caption_prefix: Literal["varied", "photo", "none"] = "varied"
    adjective_rate: float = 0.3
    closing_rate: float = 0.3
    synonym_rate: float = 0.0
    unseen: tuple[str, ...] = ()
    unseen_share: float = 0.0
    unseen_in_training: Literal["hidden", "labelled", "absent"] = "hidden"
    stuff_as: Literal["classes", "background", "void"] = "classes"
    void_share: float = 0.0
    min_pixels: int = 12
    noise: float = 0.04

    @property
    @abstractmethod
    def subject(self) -> str:
        """What an error says was being read."""

    def refuse(self, found: str, expected: str, fix: str) -> InputError:
        """Build the error of settings that cannot be used."""
        return InputError(
            doing=f"reading the settings of {self.subject}", found=found, expected=expected, fix=fix
        )

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if get_origin(field.type) is Literal and value not in get_args(field.type):
                choices = ", ".join(get_args(field.type))
                raise self.refuse(
                    f"{field.name} = {value!r}", f"one of: {choices}", "Correct it, or leave it out."
                )
        for name in _SHARES:
            self._bound(name, getattr(self, name), 0.0, 1.0)
        self._bound("size", self.size, 32, 256)
        self._bound("num_stuffs", self.num_stuffs, 1, len(STUFFS))
        self._bound("captions_per_scene", self.captions_per_scene, 1, 100)
        self._bound("min_pixels", self.min_pixels, 1, self.size**2)
        self._bound("min_named", self.min_named, 0, self.max_named)
        self._range("things_per_scene", self.things_per_scene, 0, MAX_THINGS)
        self._range("stuffs_per_scene", self.stuffs_per_scene, 1, min(MAX_STUFFS, self.num_stuffs))
        self._range("thing_size", self.thing_size, 0.05, 1.0)
        for _, _, chance in self.pairs:
            self._bound("the chance of a pair", chance, 0.0, 1.0)
        for name, chance in self.class_mention_rates:
            self._bound(f"the mention rate of {name!r}", chance, 0.0, 1.0)
        if self.unseen and self.unseen_share:
            found = f"unseen = {', '.join(self.unseen)} and unseen_share = {self.unseen_share}"
            raise self.refuse(found, "one of the two", "Give the names of unseen classes, or their share.")
        needed = 2 + (self.common_class is not None)
        if self.pairs and self.things_per_scene[1] < needed:
            raise self.refuse(
                f"pairs of things, and at most {self.things_per_scene[1]} things in a scene",
                f"room for both and for the common class: {needed}",
                f"Set things_per_scene to (1, {needed}) or more.",
            )

    def _bound(self, name: str, value: float | int, low: float | int, high: float | int) -> None:
        if not low <= value <= high:  # not a number is refused too
            fix = "Correct it, or leave it out."
            raise self.refuse(f"{name} = {value!r}", f"a number from {low} to {high}", fix)

    def _range(self, name: str, pair: tuple[Any, Any], low: float | int, high: float | int) -> None:
        if not low <= pair[0] <= pair[1] <= high:
            raise self.refuse(
                f"{name} = {pair!r}",
                f"the lowest and the highest number, from {low} to {high}",
                "Correct it, or leave it out.",
            )


@dataclass(frozen=True, kw_only=True)
class SceneSettings(WorldSettings):
    """How procedural scenes are made.

    Attributes:
        num_things: Number of thing classes, the first of ``class_table.THINGS``, 1 to 24.
        colour_jitter: Strength of colour jitter between instances, in [0, 1].
        random_colour_rate: Probability that a thing has the colour of a random class, so that shapes matter,
            in [0, 1].
    """

    num_things: int = 12
    colour_jitter: float = 0.5
    random_colour_rate: float = 0.15

    @property
    def subject(self) -> str:
        """What an error says was being read."""
        return "synthetic scenes"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._bound("num_things", self.num_things, 1, len(THINGS))
        self._bound("colour_jitter", self.colour_jitter, 0.0, 1.0)
        self._bound("random_colour_rate", self.random_colour_rate, 0.0, 1.0)
        if self.things_per_scene[1] > self.num_things:
            raise self.refuse(
                f"up to {self.things_per_scene[1]} things in a scene of {self.num_things} classes of things",
                "at least as many classes, because every thing of a scene is of another class",
                "Raise num_things or lower things_per_scene.",
            )


@dataclass(frozen=True, kw_only=True)
class PasteSettings(WorldSettings):
    """How paste scenes are made.

    Attributes:
        folder: Folder of RGBA cut-outs: with ``names.tsv`` (file, tab, name, tab, further names), or named
            ``NAME.png``, or in folders ``NAME/``.
        names: Names of the classes to use, in the order of the folder; empty for all.
        further_names: Use the further names of ``names.tsv`` as synonyms.
        unseen_in_training: Unseen classes in training data, as for all scenes; by default ``absent``.
        tilt: Largest rotation to either side as the sine of the angle, in [0, 1]; 2 rotates by any angle.
        mirrored: Flip half of the cut-outs horizontally.
        light_jitter: Strength of brightness jitter of cut-outs and stuff, in [0, 1].
    """

    folder: Path
    names: tuple[str, ...] = ()
    further_names: bool = False
    unseen_in_training: Literal["hidden", "labelled", "absent"] = "absent"
    tilt: float = 0.3
    mirrored: bool = True
    light_jitter: float = 0.5

    @property
    def subject(self) -> str:
        """What an error says was being read."""
        return f"paste scenes of {self.folder}"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._bound("light_jitter", self.light_jitter, 0.0, 1.0)
        if self.tilt != 2:
            self._bound("tilt", self.tilt, 0.0, 1.0)


def localisation_scenes() -> SceneSettings:
    """Return scenes to learn from captions where things are: 1 to 3 of 12 things on unlabelled stuff.

    For text-supervised methods (SimSeg): stuffs are the class background, captions have several words that
    name nothing, and synonyms are not used.
    """
    return SceneSettings(
        num_things=12,
        num_stuffs=6,
        things_per_scene=(1, 3),
        stuffs_per_scene=(1, 2),
        mention_rate=0.9,
        adjective_rate=0.5,
        closing_rate=0.5,
        stuff_as="background",
    )


def common_class_scenes() -> SceneSettings:
    """Return the scenes of ``localisation_scenes`` with a person in nine of ten.

    For the failure that such a class tells captions apart badly; raise ``common_frequency`` to see it grow.
    """
    return dataclasses.replace(localisation_scenes(), common_class="person", common_frequency=0.9)


def curation_scenes() -> SceneSettings:
    """Return scenes of 3 to 5 classes of which captions name one or two, the large things first.

    For methods that find the concepts that captions leave out (CoCu): stuffs are visible and seldom named,
    and classes go by two names.
    """
    return SceneSettings(
        num_things=12,
        num_stuffs=8,
        things_per_scene=(2, 3),
        stuffs_per_scene=(1, 2),
        mention_rate=0.6,
        stuff_mention_rate=0.08,
        max_named=2,
        synonym_rate=0.3,
    )


def weak_shot_scenes() -> SceneSettings:
    """Return scenes of 12 classes, 3 of them unseen, 3 to 5 in each scene, nearly every pixel labelled.

    For masks of some classes and tags of the others (SimFormer): two unseen things, fish and tree, are
    together in seven of ten scenes with either, so that tags alone do not tell them apart.
    """
    return SceneSettings(
        num_things=8,
        num_stuffs=4,
        things_per_scene=(2, 3),
        stuffs_per_scene=(1, 2),
        pairs=(("fish", "tree", 0.7),),
        unseen=("fish", "tree", "sand"),
        unseen_in_training="hidden",
        void_share=0.01,
    )


def zero_shot_scenes() -> SceneSettings:
    """Return the scenes of ``weak_shot_scenes`` without the pair, a quarter of the classes unseen.

    For masks of some classes and only names of the others (CLIP-to-Seg): unseen classes are in training
    images, as void.
    """
    return dataclasses.replace(weak_shot_scenes(), pairs=(), unseen=(), unseen_share=0.25)


#: Every preset by name.
PRESETS = {
    "localisation": localisation_scenes,
    "common-class": common_class_scenes,
    "curation": curation_scenes,
    "weak-shot": weak_shot_scenes,
    "zero-shot": zero_shot_scenes,
}


def find_preset(name: str) -> SceneSettings:
    """Return the settings of a preset.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in PRESETS:
        raise UnknownNameError.of("preset of scenes", name, PRESETS)
    return PRESETS[name]()
