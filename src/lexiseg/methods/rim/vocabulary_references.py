"""The part of a bank that a vocabulary needs, in the shapes that matching takes, and the matching itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.methods.rim.references.bank import ReferenceBank
from lexiseg.methods.rim.references.profiles import inter_class_scores
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.ops.ranking import standardise
from lexiseg.ops.region_matching import RegionMatch, match_regions, reference_scores
from lexiseg.ops.spherical_kmeans import spherical_kmeans

#: Rows of a class embedding that are no class of the bank.
MISSING, BACKGROUND = -1, -2

_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class VocabularyReferences:
    """References of the classes that compete, their profiles among each other, and what winning means.

    Attributes:
        references: Unit features; a class with fewer references than the bank's largest repeats its own.
        profiles: Score of every competing class for every reference, with the own score that the settings
            ask for, and standardised where that is done over the bank.
        labels: Which class of the vocabulary each competitor stands for.
        bank_rows: Class of the bank each competitor is; -2 for what surrounded the objects.
        bank_references: All references of the bank, class after class, surroundings of objects last: what "over
            the bank" means.
        bank_owners: Class of the bank of each of them.
    """

    references: Float[Tensor, "K R D"]
    profiles: Float[Tensor, "K R K"]
    labels: Int[Tensor, " K"]
    bank_rows: tuple[int, ...]
    bank_references: Float[Tensor, "N D"]
    bank_owners: Int[Tensor, " N"]


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
    taken = {row for row in rows if row >= 0}
    pairs: list[tuple[int, int]] = []
    for row, label in zip(rows, labels, strict=True):
        if row == BACKGROUND:
            pairs += [(stuff, label) for stuff in background_rows(bank, settings) if stuff not in taken]
        elif row != MISSING:
            pairs.append((row, label))
    chosen = [row for row, _ in pairs]
    # References and profiles of each; the column of a class among the profiles is its row in the bank.
    groups = [slice(*bank.reference_rows(row)) for row in range(len(bank))]
    references = [bank.references[group] for group in groups]
    profiles = [bank.profiles[group] for group in groups]
    # Surroundings of objects are one more class of the bank, for "over the bank" whether asked for or not.
    if BACKGROUND in chosen or (settings.standardise == "bank" and len(bank.negatives)):
        surroundings, profiles = _with_negatives(bank, settings)
        references = [*references, surroundings]
    columns = [len(bank) if row == BACKGROUND else row for row in chosen]
    # The same number of references a class, whatever else was asked for.
    width = max(map(len, references))
    counts = torch.tensor([len(part) for part in references])
    ready = [_profiles_of(profiles[column], column, columns, settings) for column in columns]
    nothing = bank.references.new_zeros(0, width, 0)
    return VocabularyReferences(
        references=torch.stack([_repeated(references[column], width) for column in columns])
        if columns
        else bank.references.new_zeros(0, width, bank.references.shape[1]),
        profiles=torch.stack([_repeated(part, width) for part in ready]) if columns else nothing,
        labels=torch.tensor([label for _, label in pairs], dtype=torch.int64),
        bank_rows=tuple(chosen),
        bank_references=torch.cat(references) if len(references) > len(bank) else bank.references,
        bank_owners=torch.repeat_interleave(torch.arange(len(references)), counts),
    )


def background_rows(bank: ReferenceBank, settings: RIMSettings) -> list[int]:
    """Return what the word "background" stands for: classes of the bank, or ``BACKGROUND`` for negatives.

    Words that the bank lacks are passed over; where it has none of them, negatives stand in. Empty where the
    bank has nothing to offer.
    """
    if settings.background == "words":
        known = [bank.names.index(word) for word in settings.background_words if word in bank.names]
        if known:
            return known
    return [BACKGROUND] if len(bank.negatives) else []


def match_features(
    features: Float[Tensor, "Q D"], chosen: VocabularyReferences, settings: RIMSettings
) -> tuple[RegionMatch, Float[Tensor, "Q K"]]:
    """Return how regions match the competitors, and the cosines that this was made from.

    Args:
        features: Unit features of regions.
        chosen: The competitors, one or more, selected with the same settings.
        settings: How.
    """
    cosines = reference_scores(features, chosen.references, over_references=settings.over_references)
    scores = cosines
    if settings.standardise == "bank":
        scores = standardise(cosines, over=_scores_over_bank(features, chosen, settings))
    matched = match_regions(
        scores,
        chosen.profiles,
        ranking=settings.ranking,
        temperature=settings.temperature,
        num_candidates=settings.num_candidates,
        kind=settings.divergence,
        over_references=settings.over_references,
        standardise_candidates=settings.standardise == "candidates",
    )
    return matched, cosines


def _scores_over_bank(
    features: Float[Tensor, "Q D"], chosen: VocabularyReferences, settings: RIMSettings
) -> Float[Tensor, "Q C"]:
    cosines = normalize(features, dim=-1) @ normalize(chosen.bank_references, dim=-1).T
    how = "amax" if settings.over_references == "nearest" else "mean"
    scores = cosines.new_zeros(len(cosines), int(chosen.bank_owners.max()) + 1)
    return scores.scatter_reduce(
        1, chosen.bank_owners.expand(len(cosines), -1), cosines, reduce=how, include_self=False
    )


def _profiles_of(
    rows: Float[Tensor, "j C"], own: int, columns: Sequence[int], settings: RIMSettings
) -> Float[Tensor, "j K"]:
    """Return the rows of a class's references at the columns of all competitors."""
    if settings.own_score == "itself":
        rows = rows.clone()
        rows[:, own] = 1.0
    if settings.standardise == "bank":
        rows = standardise(rows)
    return rows[:, columns]


def _with_negatives(
    bank: ReferenceBank, settings: RIMSettings
) -> tuple[Float[Tensor, "j D"], list[Float[Tensor, "_ C"]]]:
    """Return references of what surrounded the objects, and profiles of all classes with it as the last."""
    negatives = bank.negatives.float()
    clustered = spherical_kmeans(negatives, min(settings.num_negatives, len(negatives)), seed=_SEED)
    whole = [bank.read_class(name) for name in bank.names]
    parts = [(each.features, each.clusters, each.references) for each in whole]
    parts.append((negatives, clustered.assignment, clustered.centroids))
    profiles = torch.split(inter_class_scores(parts), [len(part[2]) for part in parts])
    return clustered.centroids, list(profiles)


def _repeated(rows: Float[Tensor, "j D"], count: int) -> Float[Tensor, "R D"]:
    return rows[torch.arange(count) % len(rows)]
