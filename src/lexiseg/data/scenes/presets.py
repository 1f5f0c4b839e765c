"""Scenes for one purpose each, by name."""

import dataclasses

from lexiseg.core.errors import UnknownNameError
from lexiseg.data.scenes.settings import SceneSettings


def localisation_scenes() -> SceneSettings:
    """Give scenes to learn from captions where things are: 1 to 3 of 12 things on unlabelled stuff.

    For text-supervised methods (SimSeg): stuffs are the class background, captions have several words that
    name nothing, and synonyms are not used.
    """
    return SceneSettings(
        num_things=12,
        num_stuffs=6,
        things_per_scene=(1, 3),
        stuffs_per_scene=(1, 2),
        naming=0.9,
        adjective_rate=0.5,
        closing_rate=0.5,
        stuff_as="background",
    )


def common_class_scenes() -> SceneSettings:
    """Give the scenes of ``localisation_scenes`` with a person in nine of ten.

    For the failure that such a class tells captions apart badly; raise ``common_frequency`` to see it grow.
    """
    return dataclasses.replace(localisation_scenes(), common_class="person", common_frequency=0.9)


def curation_scenes() -> SceneSettings:
    """Give scenes of 3 to 5 classes of which captions name one or two, the large things first.

    For methods that find the concepts that captions leave out (CoCu): stuffs are visible and seldom named,
    and classes go by two names.
    """
    return SceneSettings(
        num_things=12,
        num_stuffs=8,
        things_per_scene=(2, 3),
        stuffs_per_scene=(1, 2),
        naming=0.6,
        stuff_naming=0.08,
        max_named=2,
        synonym_rate=0.3,
    )


def weak_shot_scenes() -> SceneSettings:
    """Give scenes of 12 classes, 3 of them unseen, 3 to 5 in each scene, nearly every pixel labelled.

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
    """Give the scenes of ``weak_shot_scenes`` without the pair, a quarter of the classes unseen.

    For masks of some classes and only names of the others (CLIP-to-Seg): unseen classes are in training
    pictures, as void.
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
    """Give the settings of a preset.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in PRESETS:
        raise UnknownNameError.of("preset of scenes", name, PRESETS)
    return PRESETS[name]()
