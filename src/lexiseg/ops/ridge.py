"""Ridge regression in closed form from sums over rows: no step, no seed, and parts add up.

Hoerl and Kennard, "Ridge Regression", Technometrics 1970.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(kw_only=True, eq=False)
class RidgeSums:
    """What the regression needs of all rows.

    Attributes:
        gram: Sum of ``w x xᵀ``.
        products: Sum of ``w x yᵀ``.
    """

    gram: Float[Tensor, "F F"]
    products: Float[Tensor, "F K"]

    @classmethod
    def empty(cls, num_features: int, num_targets: int) -> "RidgeSums":
        """Return the sums of no rows."""
        return cls(
            gram=torch.zeros(num_features, num_features), products=torch.zeros(num_features, num_targets)
        )

    def add(
        self, rows: Float[Tensor, "N F"], targets: Float[Tensor, "N K"], weights: Float[Tensor, " N"]
    ) -> None:
        """Add rows with their targets; weights are not negative."""
        weighted = (rows * weights[:, None]).T
        self.gram += weighted @ rows
        self.products += weighted @ targets

    def solve(self, penalty: float, towards: Float[Tensor, "F K"]) -> Float[Tensor, "F K"]:
        """Return the weights that explain the targets, shrunk towards given ones.

        Args:
            penalty: Greater than 0; in units of a row's weight times a feature squared.
            towards: What no row says anything of stays as it is here.
        """
        return towards + solve_ridge(self.gram, self.products - self.gram @ towards, penalty)


def solve_ridge(
    gram: Float[Tensor, "F F"], products: Float[Tensor, "F K"], penalty: float
) -> Float[Tensor, "F K"]:
    """Solve the ridge regression of summed ``x xᵀ`` and ``x yᵀ``."""
    penalised = gram + penalty * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.cholesky_solve(products, torch.linalg.cholesky(penalised))
