"""The part of a bank that a vocabulary needs, in the shapes that matching takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lexiseg.methods.rim.references.bank import ReferenceBank, inter_class_scores
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.ops.ranking import standardise
from lexiseg.ops.spherical_kmeans import spherical_kmeans

#: Rows of a class embedding that are no class of the bank.
MISSING, BACKGROUND = -1, -2

_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class VocabularyReferences:
    """References of the classes that compete, their profiles among each other, and what winning means.

    Attributes:
        references: Unit features; a class with fewer references than others repeats its own.
        profiles: Score of every competing class for every reference, standardised and with the own score
            that the settings ask for.
        labels: Which class of the vocabulary each competitor stands for.
        bank_rows: Class of the bank each competitor is; -2 for what surrounded the objects.
    """

    references: Float[Tensor, "K R D"]
    profiles: Float[Tensor, "K R K"]
    labels: Int[Tensor, " K"]
    bank_rows: tuple[int, ...]


def select_references(
    bank: ReferenceBank, rows: Sequence[int], labels: Sequence[int], settings: RIMSettings
) -> VocabularyReferences:
    """Load the competing classes out of a bank.

    Args:
        bank: Where the references are.
        rows: Class of the bank that each name is, or ``MISSING`` or ``BACKGROUND``.
        labels: Class of the vocabulary that each name belongs to.
        settings: What background stands for, and what is done to profiles.

    Returns:
        One competitor for each name that the bank has, in order; those of background at its place.
        There may be none.
    """
    taken = set(rows)
    pairs: list[tuple[int, int]] = []
    for row, label in zip(rows, labels, strict=True):
        if row >= 0:
            pairs.append((row, label))
        elif row == BACKGROUND and settings.background == "words":
            known = [bank.names.index(word) for word in settings.background_words if word in bank.names]
            pairs += [(stuff, label) for stuff in known if stuff not in taken]
        elif row == BACKGROUND and len(bank.negatives):
            pairs.append((BACKGROUND, label))
    chosen = [row for row, _ in pairs]
    if BACKGROUND in chosen:
        references, profiles = _with_negatives(bank, chosen, settings)
    else:
        groups = [slice(*bank.reference_rows(row)) for row in chosen]
        references = [bank.references[group] for group in groups]
        profiles = [bank.profiles[group][:, chosen] for group in groups]
    width = max((len(part) for part in references), default=1)
    stack = [_repeated(part, width) for part in references]
    relations = [_repeated(part, width) for part in profiles]
    ready = torch.stack(relations) if relations else bank.references.new_zeros(0, 1, 0)
    if settings.own_score == "itself":
        itself = torch.eye(len(ready), dtype=torch.bool)[:, None].expand_as(ready)
        ready = ready.masked_fill(itself, 1.0)
    if settings.standardise and len(ready):
        ready = standardise(ready)
    return VocabularyReferences(
        references=torch.stack(stack) if stack else bank.references.new_zeros(0, 1, bank.references.shape[1]),
        profiles=ready,
        labels=torch.tensor([label for _, label in pairs], dtype=torch.int64),
        bank_rows=tuple(chosen),
    )


def _with_negatives(
    bank: ReferenceBank, chosen: Sequence[int], settings: RIMSettings
) -> tuple[list[Tensor], list[Tensor]]:
    """Cluster the negatives into references of a class of their own and score all against all."""
    negatives = bank.negatives.float()
    clustered = spherical_kmeans(negatives, min(settings.num_negatives, len(negatives)), seed=_SEED)
    parts = []
    for row in chosen:
        if row == BACKGROUND:
            parts.append((negatives, clustered.assignment, clustered.centroids))
        else:
            each = bank.read_class(bank.names[row])
            parts.append((each.features, each.clusters, each.references))
    profiles = torch.split(inter_class_scores(parts), [len(part[2]) for part in parts])
    return [part[2] for part in parts], list(profiles)


def _repeated(rows: Float[Tensor, "j D"], count: int) -> Float[Tensor, "R D"]:
    return rows[torch.arange(count) % len(rows)]
