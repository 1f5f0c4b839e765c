"""RIMSettings: every choice between regions and their labels."""

from dataclasses import dataclass, field, fields
from typing import Literal, get_args, get_origin

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.models.mask_generator import MaskGeneratorSettings

#: The proposer that needs no weights.
CLASSICAL_PROPOSER = "classical"

#: The image encoder is loaded from where the bank says it was.
RECORDED = "recorded"

#: Stuff that surrounds things, for the background policy "words"; those a bank has are used.
BACKGROUND_WORDS = (
    "sky", "wall", "tree", "grass", "road", "building", "water", "mountain", "sand", "floor", "ground",
    "field", "snow", "cloud", "sea", "river", "rock", "ceiling", "fence", "window", "curtain", "pavement",
)  # fmt: skip


_RANGES = {
    "fusing_threshold": Range(least=0, most=1),
    "largest_absorber": Range(least=0, most=1),
    "temperature": Range(least=0, above=True),
    "num_candidates": Range(least=1),
    "num_negatives": Range(least=1),
    "unknown_share": Range(least=0, most=1),
}


@dataclass(frozen=True, kw_only=True)
class RIMSettings:
    """How regions are made and matched. What the paper states is marked; the rest is our choice.

    Attributes:
        fusing: Reading of the fusing rule: ``greedy`` to a fixpoint, ``transitive``, ``one_pass``, or
            ``none`` for no fusing.
        fusing_threshold: Two masks become one where their overlap is more than this part of the
            smaller (stated: 0.9).
        largest_absorber: Masks above this part of the image absorb none, as one mask of the whole scene
            would swallow all; 1 lets them.
        ranking: ``plackett_luce`` over full orders of the candidates, ``top_one``, or ``cosine``: the
            best similarity wins, without relations.
        divergence: How two ranking distributions are compared.
        temperature: Divides scores before they become a distribution; on the scale that ``standardise`` leaves
            them in.
        num_candidates: A region's best so many classes are ranked.
        over_references: A class is as far as its nearest reference, or the mean of them.
        standardise: What every score vector, of a region or of a reference, is brought to mean 0 and deviation 1
            over: all classes of the ``bank``, asked for or not, the ``candidates`` that are ranked, or ``none``.
            Never the vocabulary: a region's label may not depend on classes that it never ranks.
        own_score: Score of a reference for its own class in its profile: ``itself``: 1, or ``leave_one_out``,
            measured from its images without themselves. Measured: with few images a class the second is
            so low that a region which ranks its class first does not resemble the class.
        background: What the word "background" stands for: ``words`` (the stuff of ``background_words``
            that the bank has; where it has none of them, negatives), or ``negatives`` (what surrounded the
            objects in the reference images). A bank with neither refuses the word. The third policy, a threshold
            on the cosine, is the inference setting ``background="threshold"``.
        background_words: For ``background="words"``; names of the vocabulary are left out.
        num_negatives: For ``background="negatives"``: references made of them.
        proposer: What cuts images into regions: ``classical`` (superpixels, no weights), ``dinov2-small`` (superpixels
            merged by its features), or the hub id or folder of a SAM or SAM 2 checkpoint.
        mask_generator: Grid and filters of SAM's and SAM 2's automatic masks, where the proposer is one of them.
        encoder: Where the image encoder lies if not where it was when the bank was built (``recorded``): a name,
            hub id or folder. Its weights must be those of the bank.
        unknown: What is done about regions that are near no reference of the bank: ``note`` them (hatched in
            the overlay, listed, explained) and keep their label, ``label`` them void, or ``off``. Measured: it tells
            little of whole objects and nothing of parts.
        unknown_share: A region is unknown whose largest cosine with all references is below that of this share
            of the bank's own images with the references of the others.
        missing_words: ``refuse`` a vocabulary with a class that the bank does not have, or ``leave_out``
            such classes: they never win.
    """

    fusing: Literal["greedy", "transitive", "one_pass", "none"] = "greedy"
    fusing_threshold: float = 0.9
    largest_absorber: float = 1.0
    ranking: Literal["plackett_luce", "top_one", "cosine"] = "plackett_luce"
    divergence: Literal["kl", "reverse_kl", "jensen_shannon"] = "kl"
    temperature: float = 0.1
    num_candidates: int = 5
    over_references: Literal["nearest", "mean"] = "nearest"
    standardise: Literal["bank", "candidates", "none"] = "candidates"
    own_score: Literal["itself", "leave_one_out"] = "itself"
    background: Literal["words", "negatives"] = "words"
    background_words: tuple[str, ...] = BACKGROUND_WORDS
    num_negatives: int = 10
    proposer: str = CLASSICAL_PROPOSER
    mask_generator: MaskGeneratorSettings = field(default_factory=MaskGeneratorSettings)
    encoder: str = RECORDED
    unknown: Literal["off", "note", "label"] = "off"
    unknown_share: float = 0.05
    missing_words: Literal["refuse", "leave_out"] = "refuse"

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="RIM")
        for each in fields(self):
            value = getattr(self, each.name)
            if get_origin(each.type) is Literal and value not in get_args(each.type):
                raise InputError(
                    doing="reading the settings of RIM",
                    found=f"{each.name} = {value!r}",
                    expected=f"one of: {', '.join(get_args(each.type))}",
                    fix="Correct it, or leave it out.",
                )
