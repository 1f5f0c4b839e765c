"""The order of an epoch: shards shuffled, and records within groups of shards."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from jaxtyping import Int64

_KEPT = 4  # permutations; a batch at a border touches two


class EpochOrder:
    """Which record comes at which place of which epoch, without listing an epoch.

    Shards are put into an order of the epoch's own and taken together into groups of at least
    ``window`` records; a group's records are permuted. So every record comes once an epoch, a place is found at once,
    and records that come near each other in time lie in the same few files.

    Args:
        sizes: Records of each shard.
        window: Least records of a group.
        seed: Seed of the run.
    """

    def __init__(self, sizes: Sequence[int], *, window: int, seed: int) -> None:
        self.sizes = np.array(sizes, np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.num_records = int(self.sizes.sum())
        self.window, self.seed = window, seed
        self._layouts: OrderedDict[int, tuple[list[list[int]], list[int]]] = OrderedDict()
        self._orders: OrderedDict[tuple[int, int], Int64[np.ndarray, " n"]] = OrderedDict()

    def record_at(self, epoch: int, place: int) -> int:
        """Return the number of the record at a place, 0 up to the number of records."""
        ends = self._layout(epoch)[1]
        group = bisect_right(ends, place)
        return int(self._order(epoch, group)[place - (ends[group - 1] if group else 0)])

    def neighbour_of(self, epoch: int, place: int, rng: np.random.Generator) -> int:
        """Draw a record from the group that a place is in."""
        order = self._order(epoch, bisect_right(self._layout(epoch)[1], place))
        return int(order[rng.integers(len(order))])

    def _layout(self, epoch: int) -> tuple[list[list[int]], list[int]]:
        """Return the groups of shards, and the place after the last of each group."""
        if epoch not in self._layouts:
            groups: list[list[int]] = [[]]
            counts = [0]
            rng = np.random.default_rng((self.seed, epoch, 0))
            for shard in rng.permutation(len(self.sizes)).tolist():
                if counts[-1] >= self.window:
                    groups.append([])
                    counts.append(0)
                groups[-1].append(shard)
                counts[-1] += int(self.sizes[shard])
            if len(groups) > 1 and counts[-1] < self.window:  # the rest mixes with the group before
                rest, count = groups.pop(), counts.pop()
                groups[-1] += rest
                counts[-1] += count
            ends = list(accumulate(counts))
            _keep(self._layouts, epoch, (groups, ends))
        return self._layouts[epoch]

    def _order(self, epoch: int, group: int) -> Int64[np.ndarray, " n"]:
        key = (epoch, group)
        if key not in self._orders:
            shards = self._layout(epoch)[0][group]
            records = np.concatenate(
                [np.arange(self.starts[shard], self.starts[shard] + self.sizes[shard]) for shard in shards]
            )
            rng = np.random.default_rng((self.seed, epoch, 1, group))
            _keep(self._orders, key, rng.permutation(records))
        return self._orders[key]


def _keep(kept: OrderedDict, key: object, value: object) -> None:
    kept[key] = value
    if len(kept) > _KEPT:
        kept.popitem(last=False)
