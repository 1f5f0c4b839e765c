"""Ablations by name: the papers' tables, made again with ``lexiseg ablate``."""

from collections.abc import Callable
from importlib import import_module

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.runs.studies.study import Ablation

#: Name to the function that builds it, and what it shows.
ABLATIONS: dict[str, tuple[str, str]] = {
    "simseg/loda": ("simseg:loda", "LoDA against mean and CLS pooling; plain against masked padding; with and without CRF"),
    "simseg/table11": ("simseg:table11", "top-k at test, 3 x 3 (the paper's Table 11)"),
    "simseg/table12": ("simseg:table12", "top-k in training, 3 x 3 (the paper's Table 12)"),
    "simseg/common-class": ("simseg:common_class", "a class that is nearly always there (the paper's person)"),
    "simformer/pairs": ("simformer:pairs", "Basic, Self-Pair, Cross-Pair, shuffled and oracle teachers (Table 2)"),
    "simformer/learning": ("simformer:learning", "whether proposals learn in a short training; beside a per-pixel classifier"),
    "simformer/points": ("simformer:points", "half, all and twice of the sampled points (Table 1)"),
    "simformer/splits": ("simformer:splits", "a growing share of unseen classes, re-training, the oracle (Table 3)"),
    "simformer/frozen": ("simformer_frozen:frozen", "Table 2 above frozen features, a cosine teacher; needs --data with masks"),
    "simformer/frozen-divided": ("simformer_frozen:frozen_divided", "the same in a folder with seen.txt; needs --data"),
    "simformer/frozen-splits": ("simformer_frozen:frozen_splits", "Table 3 above frozen features; needs --data with all masks"),
    "simformer/frozen-points": ("simformer_frozen:frozen_points", "Table 1 above frozen features; needs --data with all masks"),
    "simformer/clothing": ("simformer:clothing", "photographs of dressed people, five garments with tags only; needs --data"),
    "clip-to-seg/parts": ("clip_to_seg:parts", "global, local, mining one by one; true, random and named masks"),
    "clip-to-seg/learnt": ("clip_to_seg:learnt", "the same parts by a teacher that has learnt from captions of scenes"),
    "clip-to-seg/merging": ("clip_to_seg:merging", "both readings of mask merging, thresholds, windows, updates"),
    "clip-to-seg/bank": ("clip_to_seg:bank", "the bank of negatives, with few and many images a step"),
    "clip-to-seg/gamma": ("clip_to_seg:gamma", "what is taken from the scores of seen classes at test"),
    "clip-to-seg/clothing": ("clip_to_seg:clothing", "photographs of dressed people, five garments only named; needs --data"),
    "cocu/models": ("cocu:models", "GroupViT and the modules of CoCu one by one, by a made and by a learnt teacher (Table 2)"),
    "cocu/neighbours": ("cocu:neighbours", "8, 16 and 32 neighbours (Table 3)"),
    "cocu/sampling": ("cocu:sampling", "the best three, softmax or clusters; maps of a word and its synonym"),
}  # fmt: skip


def find_ablation(name: str) -> Ablation:
    """Build an ablation by its name, or a person's own by ``package.module:function``.

    Raises:
        UnknownNameError: There is none of that name.
        InputError: The function cannot be imported.
    """
    where = name
    if name in ABLATIONS:
        where = f"lexiseg.runs.studies.{ABLATIONS[name][0]}"
    module, colon, function = where.partition(":")
    if not colon:
        raise UnknownNameError.of("ablation", name, ABLATIONS)
    try:
        build: Callable[[], Ablation] = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            doing=f"looking up the ablation {name!r}",
            found=f"{type(error).__name__}: {error}",
            expected="package.module:function, a function without arguments that gives an Ablation",
            fix="Check the names; for a module in the present folder, run with PYTHONPATH=. set.",
        ) from error
    return build()
