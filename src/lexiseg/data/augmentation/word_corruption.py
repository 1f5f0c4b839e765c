"""Word corruption: mask, replace or delete some words of a training caption.

As in SimSeg (CVPR 2023, supplementary): 20 % of the words, of which half are masked, a tenth replaced
by a random word and the rest deleted. For training only; nothing at test time calls this.

*Difference from the released code*: it corrupts word pieces and loses the tails of long words. Here
whole words are the unit. For pieces as the unit, tokenize, call ``corrupt_units``, then
``join_pieces``, which keeps every piece that was not deleted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import Range, check_ranges

_RANGES = {
    "share": Range(least=0, most=1),
    "mask": Range(least=0, most=1),
    "replace": Range(least=0, most=1),
    "delete": Range(least=0, most=1),
}


@dataclass(frozen=True, kw_only=True)
class WordCorruption:
    """How much is corrupted, and how.

    Attributes:
        share: Probability that a word is corrupted, in [0, 1].
        mask: Share of corrupted words that become the mask token.
        replace: Share of corrupted words that are replaced by a random word of the list.
        delete: Share of corrupted words that are deleted; the three shares add up to 1.
        mask_token: Text that the tokenizer reads as its mask token.
    """

    share: float = 0.2
    mask: float = 0.5
    replace: float = 0.1
    delete: float = 0.4
    mask_token: str = "[MASK]"

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="word corruption")
        parts = (self.mask, self.replace, self.delete)
        if not 0 <= self.share <= 1 or min(parts) < 0 or abs(sum(parts) - 1) > 1e-6:
            raise InputError(
                doing="setting up word corruption",
                found=f"a share of {self.share:g}, and {self.mask:g} + {self.replace:g} + {self.delete:g}",
                expected="a share of 0 to 1, and mask, replace, delete that add up to 1",
                fix="Give shares, for example share=0.2, mask=0.5, replace=0.1, delete=0.4.",
            )


def corrupt_words(
    caption: str,
    replacements: Sequence[str],
    rng: np.random.Generator,
    settings: WordCorruption | None = None,
) -> str:
    """Corrupt the words of a caption, which are what white space separates.

    Args:
        caption: One sentence.
        replacements: Words to replace by.
        rng: Random generator of this sample.
        settings: How much.
    """
    return " ".join(corrupt_units(caption.split(), replacements, rng, settings))


def corrupt_units(
    units: Sequence[str],
    replacements: Sequence[str],
    rng: np.random.Generator,
    settings: WordCorruption | None = None,
) -> list[str]:
    """Corrupt words or word pieces, each by a draw of its own.

    A caption never becomes empty: where every unit would be deleted, one of them, drawn at random,
    stays as it is. (Of one-word captions, 8 % would be; of ten-word ones, one in 10 ** 11.)

    Raises:
        InputError: Words are to be replaced, and there is no word to replace by.
    """
    settings = settings or WordCorruption()
    if settings.share * settings.replace > 0 and not len(replacements):
        raise InputError(
            doing="corrupting the words of a caption",
            found="no words to replace by",
            expected="a list of words, because some words are replaced",
            fix="Give replacements, or set replace=0 and let mask and delete add up to 1.",
        )
    masked = settings.share * settings.mask
    replaced = masked + settings.share * settings.replace
    draws = rng.random(len(units))
    kept: list[str] = []
    for unit, draw in zip(units, draws.tolist(), strict=True):
        if draw < masked:
            kept.append(settings.mask_token)
        elif draw < replaced:
            kept.append(replacements[int(rng.integers(len(replacements)))])
        elif draw >= settings.share:
            kept.append(unit)
    if units and not kept:
        kept.append(units[int(rng.integers(len(units)))])
    return kept


def join_pieces(pieces: Sequence[str]) -> str:
    """Join WordPiece pieces to text: ``##`` glues a piece to the one before, whatever that is."""
    text = ""
    for piece in pieces:
        text += (
            piece.removeprefix("##") if piece.startswith("##") and text else f" {piece.removeprefix('##')}"
        )
    return text.strip()
