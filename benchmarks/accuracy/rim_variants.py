"""What rim.py compares: variants of the settings, and proposers of masks."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.interfaces import MaskProposer
from lexiseg.core.masks import Masks
from lexiseg.data.folder import FolderDataset


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row: what differs from the defaults."""

    name: str
    method: dict[str, Any] = field(default_factory=dict)
    images: int = 50
    subcategories: int = 5


def variants() -> list[Variant]:
    """List the rows; the first is the default, the second and third are what it is compared with."""
    rows = [
        Variant(name="rim (Plackett-Luce, m 5, temperature 0.1, J 5)"),
        Variant(name="cosine only", method={"ranking": "cosine"}),
        Variant(name="top-one", method={"ranking": "top_one"}),
        Variant(name="scores not standardised", method={"standardise": "none"}),
        Variant(name="reverse KL", method={"divergence": "reverse_kl"}),
        Variant(name="Jensen-Shannon", method={"divergence": "jensen_shannon"}),
    ]
    left_out = {"own_score": "leave_one_out"}
    rows += [
        Variant(name="top-one, temperature 1", method={"ranking": "top_one", "temperature": 1.0}),
        Variant(name="own score left out", method=left_out),
        Variant(name="own score left out, temperature 1", method={**left_out, "temperature": 1.0}),
        Variant(name="own score left out, J 1", method=left_out, subcategories=1),
    ]
    rows += [Variant(name=f"m {m}", method={"num_candidates": m}) for m in (2, 3, 7)]
    rows += [Variant(name=f"temperature {t}", method={"temperature": t}) for t in (0.05, 0.2, 1.0)]
    for j in (1, 2):
        rows += [
            Variant(name=f"J {j}", subcategories=j),
            Variant(name=f"J {j}, cosine", subcategories=j, method={"ranking": "cosine"}),
        ]
    for k in (1, 3, 10):
        rows += [
            Variant(name=f"{k} images a class", images=k),
            Variant(name=f"{k} images a class, cosine", images=k, method={"ranking": "cosine"}),
        ]
    return rows


class Remembered(MaskProposer):
    """Ask a proposer once an image."""

    def __init__(self, proposer: MaskProposer) -> None:
        super().__init__()
        self.proposer = proposer
        self.known: dict[bytes, Masks] = {}

    def propose(self, image: np.ndarray) -> Masks:
        """Cut one image."""
        key = image.tobytes()
        if key not in self.known:
            self.known[key] = self.proposer.propose(image)
        return self.known[key]


class TrueRegions(MaskProposer):
    """Cheat: the regions of the truth. What is left to do is naming them."""

    def __init__(self, dataset: FolderDataset) -> None:
        super().__init__()
        self.truth = {sample.image.tobytes(): sample.label_map for sample in dataset}

    def propose(self, image: np.ndarray) -> Masks:
        """Cut one image."""
        truth = self.truth[image.tobytes()]
        return Masks(masks=np.stack([truth == label for label in np.unique(truth) if label != IGNORE_INDEX]))
