"""Match every target to a proposal of its own, at the least total cost."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

#: Proposals and the targets they got, in pairs, equally many; both on the CPU.
Assignment: TypeAlias = tuple[Int64[Tensor, " _"], Int64[Tensor, " _"]]

_WORST = 1e6  # instead of a cost that is not finite: such a pair is the last to be chosen


def assign(costs: Float[Tensor, "N Q M"], num_targets: Sequence[int]) -> list[Assignment]:
    """Solve ``N`` assignment problems by the Hungarian method (Kuhn 1955), as scipy has it.

    Args:
        costs: Cost of giving proposal ``q`` to target ``m``. Problems with fewer targets are filled up with
            columns that are not read. Costs that are not finite are taken as very high, so that a training
            that diverges fails by its loss and not here.
        num_targets: Columns of each problem that count.

    Returns:
        For each problem ``min(Q, num_targets)`` pairs, by ascending proposal. A target keeps the
        number of its column.
    """
    # One copy for all problems: every copy waits for the device.
    table = torch.nan_to_num(costs.detach().float(), nan=_WORST, posinf=_WORST, neginf=-_WORST).cpu().numpy()
    pairs = (
        linear_sum_assignment(matrix[:, :count]) for matrix, count in zip(table, num_targets, strict=True)
    )
    return [(torch.from_numpy(queries), torch.from_numpy(targets)) for queries, targets in pairs]
