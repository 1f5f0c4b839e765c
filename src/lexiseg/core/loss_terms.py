"""LossTerms: what one step of training says about itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """Named losses; their weighted sum is what is minimised, and every one is logged.

    Attributes:
        terms: Scalars with gradient, before weighting.
        weights: Weight of each term; 1 where it is not named.
        observed: Further scalars to log, such as a temperature; they take no part in the total.
    """

    terms: Mapping[str, Float[Tensor, ""]]
    weights: Mapping[str, float] = field(default_factory=dict)
    observed: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.terms, "a loss without terms"
        assert set(self.weights) <= set(self.terms), f"weights of unknown terms: {self.weights}"
        assert not set(self.observed) & set(self.terms), "a name may be a term or observed, not both"

    def total(self) -> Float[Tensor, ""]:
        """Return the weighted sum."""
        weighted = [self.weights.get(name, 1.0) * term for name, term in self.terms.items()]
        return sum(weighted[1:], start=weighted[0])
