"""ClipToSegSettings: every choice between a batch and its loss, and the one that is left for the test."""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import COUNT, DEPTH, FACTOR, SHARE, WIDTH, Range, check_ranges
from lexiseg.ops.latent_masks import Reading

#: α in the beginning: embeddings of text and pixels have length 1.
INITIAL_ALPHA = 1 / 0.07


_RANGES = {
    **dict.fromkeys(("temperature", "attention_temperature"), Range(least=0, most=1000, above=True)),
    "bank": Range(least=0, most=1_000_000),
    "updates": Range(least=0, most=1000),
    "min_area": Range(least=0),
    "min_unlabelled": SHARE,
    "windows": Range(least=1, most=1024),
    "similarity": Range(least=-1, most=2),  # above 1, nothing is merged
    "beta": FACTOR,
    "gamma": Range(least=-1e6, most=1e6),
    **dict.fromkeys(("mined_together", "max_regions"), COUNT),
    "decoder_layers": DEPTH,
    **dict.fromkeys(("decoder_heads", "decoder_width"), WIDTH),
    **dict.fromkeys(
        ("global_weight", "local_weight", "text_space_weight", "focal", "dice", "exclusive_weight"), FACTOR
    ),
}


@dataclass(frozen=True, kw_only=True)
class ClipToSegSettings:
    """How a student learns a teacher's space. Defaults: the supplement's numbers, else the recommended reading.

    Attributes:
        temperature: Of both contrastive losses.
        bank: Image vectors of earlier steps that are negatives.
        bank_before_loss: Push an image's vector before its loss, as an unofficial re-implementation does; it is then
            its own negative.
        attention_temperature: Of condensing; None for raw vectors and the root of their length, see
            ``losses.distillation.condense``.
        masks: Where masks of nameless classes come from: ``mined``, or ``none``. For ablations: ``oracle``, the truth
            without names; ``random``, mined ones at shuffled places.
        windows: Sides of the windows that seeds are means of, in dense features.
        updates: Rounds of k-means.
        merging: Of similar seeds: ``prose`` or ``literal``, see ``ops.latent_masks``; ``none`` leaves them apart.
        similarity: Seeds of at least this cosine are merged (λ).
        mined_together: Images of a batch that share nameless classes; 1 mines each alone. The paper's devices
            had 2 each.
        min_area: Least area without labels of a nameless class, in dense features.
        min_unlabelled: Least share of a nameless class that has no label.
        local: Where the teacher's vector of a region comes from: ``reencoded``, the image with all else greyed out and
            cropped to the region, by a teacher that looks at each batch; ``pooled``, the mean of its dense
            features; ``none``, no local distillation.
        max_regions: Regions of an image that are encoded again, the largest first.
        transductive: Name the nameless: the names of unseen classes are known in training. Off, as it is another task.
        decoder_width: Of the decoder that gives nameless classes an embedding.
        decoder_heads: Of its attention.
        decoder_layers: How many.
        beta: Scale of the scores of nameless classes (β).
        global_weight: Of the global distillation; 0 leaves it out.
        local_weight: Of the local one.
        text_space_weight: Of the loss that keeps generated embeddings in the space of texts.
        focal: Weight of the focal part of the non-exclusive loss.
        dice: Of its dice part.
        exclusive_weight: Of the cross-entropy.
        gamma: Taken from the scores of seen classes when segmenting (γ); not used in training.
    """

    temperature: float = 0.07
    bank: int = 24
    bank_before_loss: bool = False
    attention_temperature: float | None = None
    masks: Literal["mined", "none", "oracle", "random"] = "mined"
    windows: tuple[int, ...] = (3, 7)
    updates: int = 1
    merging: Reading | Literal["none"] = "prose"
    similarity: float = 0.8
    mined_together: int = 2
    min_area: float = 4.0
    min_unlabelled: float = 0.5
    local: Literal["reencoded", "pooled", "none"] = "reencoded"
    max_regions: int = 8
    transductive: bool = False
    decoder_width: int = 512
    decoder_heads: int = 8
    decoder_layers: int = 1
    beta: float = 2.0
    global_weight: float = 1.0
    local_weight: float = 1.0
    text_space_weight: float = 1.0
    focal: float = 20.0
    dice: float = 1.0
    exclusive_weight: float = 1.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="CLIP-to-Seg")
        self._check("windows", len(self.windows) > 0, "one side or more")
        self._check(
            "decoder_width", self.decoder_width % self.decoder_heads == 0, "a multiple of decoder_heads"
        )
        named = not self.transductive or self.masks == "mined"
        self._check("transductive", named, "masks = mined, whose nameless classes are named")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InputError(
                doing="reading the settings of CLIP-to-Seg",
                found=f"{name} = {getattr(self, name)!r}",
                expected=expected,
                fix="Correct it, or leave it out for the recommended value.",
            )
