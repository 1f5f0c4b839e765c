"""What is known of published weights: licence, where they come from, what they were trained on; and what licences ask for.

The one place for it: the list of models, messages about missing weights, tables of combinations, bills of materials and
model cards read it here. Files that come through pip carry theirs themselves (``pip_weights``).
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: What a licence allows: anything with a notice; commerce, under conditions; no commerce; nobody knows.
Terms: TypeAlias = Literal["permissive", "conditions", "non-commercial", "unknown"]

NOT_STATED = "not stated"
#: Weights that a person trained: theirs to license.
OWN_WEIGHTS = "own weights"

#: Licences with what they allow, from the one with fewest conditions to the one with most.
LICENCES: dict[str, Terms] = {
    OWN_WEIGHTS: "permissive",
    "CC0-1.0": "permissive",
    "MIT": "permissive",
    "BSD-3-Clause": "permissive",
    "Apache-2.0": "permissive",
    "MIT (package), Apache-2.0 (DINOv2)": "permissive",
    "CC-BY-4.0": "permissive",
    "OpenRAIL": "conditions",
    "CreativeML-OpenRAIL-M": "conditions",
    "SAM Licence (gated; no military use)": "conditions",
    "NVIDIA Source Code License (research only)": "non-commercial",
    "CC-BY-NC-4.0": "non-commercial",
    "CC-BY-NC-SA-4.0": "non-commercial",
    NOT_STATED: "unknown",
}


@dataclass(frozen=True, kw_only=True)
class WeightFacts:
    """What is known of one repository's weights.

    Attributes:
        licence: A key of ``LICENCES``, as its publisher gives it.
        trained_on: Data it learnt from, as its paper or page says.
    """

    licence: str
    trained_on: str


_CLIP = WeightFacts(licence="MIT", trained_on="400 million image-text pairs of the web (WIT, not published)")
_SIGLIP = WeightFacts(licence="Apache-2.0", trained_on="WebLI: image-text pairs of the web (not published)")
_DINO = WeightFacts(licence="Apache-2.0", trained_on="ImageNet-1k, without labels")
_DINOV2 = WeightFacts(
    licence="Apache-2.0", trained_on="LVD-142M: images of the web, curated (not published), without labels"
)
_SAM = WeightFacts(licence="Apache-2.0", trained_on="SA-1B: 11 million photographs with masks")
_SEGFORMER = "NVIDIA Source Code License (research only)"

#: By hub id.
FACTS: dict[str, WeightFacts] = {
    "openai/clip-vit-base-patch16": _CLIP,
    "openai/clip-vit-base-patch32": _CLIP,
    "openai/clip-vit-large-patch14": _CLIP,
    "openai/clip-vit-large-patch14-336": _CLIP,
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": WeightFacts(
        licence="MIT", trained_on="LAION-2B: two billion English image-text pairs of the web"
    ),
    "google/siglip-base-patch16-224": _SIGLIP,
    "google/siglip-so400m-patch14-384": _SIGLIP,
    "google/siglip2-base-patch16-224": _SIGLIP,
    "facebook/dino-vitb16": _DINO,
    "facebook/dinov2-base": _DINOV2,
    "facebook/dinov2-with-registers-base": _DINOV2,
    "facebook/sam-vit-base": _SAM,
    "facebook/sam2.1-hiera-tiny": WeightFacts(
        licence="Apache-2.0", trained_on="SA-1B and SA-V: photographs and films with masks"
    ),
    "facebook/sam3": WeightFacts(
        licence="SAM Licence (gated; no military use)",
        trained_on="SA-Co: images and films with phrases and masks",
    ),
    "nvidia/groupvit-gcc-redcaps": WeightFacts(
        licence=NOT_STATED, trained_on="CC3M, CC12M and RedCaps: captioned images of the web"
    ),
    "nvidia/groupvit-gcc-yfcc": WeightFacts(
        licence=NOT_STATED, trained_on="CC3M, CC12M and YFCC: captioned images of the web"
    ),
    "nvidia/mit-b0": WeightFacts(licence=_SEGFORMER, trained_on="ImageNet-1k"),
    "nvidia/mit-b2": WeightFacts(licence=_SEGFORMER, trained_on="ImageNet-1k"),
    "microsoft/resnet-50": WeightFacts(licence="Apache-2.0", trained_on="ImageNet-1k"),
}


def terms_of(licence: str) -> Terms:
    """Return what a licence allows; of one that is not in ``LICENCES`` nobody knows."""
    known = {name.casefold(): terms for name, terms in LICENCES.items()}
    return known.get(licence.casefold(), "unknown")


def strictness(licence: str) -> int:
    """Return a licence's place among ``LICENCES``: higher with more conditions; unknown ones are highest."""
    known = {name.casefold(): place for place, name in enumerate(LICENCES)}
    return known.get(licence.casefold(), len(LICENCES))


def facts_of(name: str) -> WeightFacts:
    """Return what is known of a hub id, with or without ``@revision``; what is not known is said to be not stated."""
    return FACTS.get(name.partition("@")[0], WeightFacts(licence=NOT_STATED, trained_on=NOT_STATED))
