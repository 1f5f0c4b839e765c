"""Run a compiled loop on several threads, one band of image rows each."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch


def for_bands(
    function: Callable[[int, int], None], num_rows: int, *, num_threads: int | None = None, min_rows: int = 1
) -> None:
    """Call ``function(start, stop)`` for consecutive bands that together cover ``range(num_rows)``.

    Worth it only for functions that release the interpreter lock (numba with ``nogil=True``). The
    threads live for this call only: a pool kept between calls would hang in forked data loaders.

    Args:
        function: Works on rows ``start`` to ``stop`` (exclusive) and writes its result in place.
        num_rows: Rows in all; zero is allowed and calls nothing.
        num_threads: Bands at most; torch's thread count by default, so that one setting rules both.
        min_rows: No band is made smaller than this.

    Raises:
        Exception: Whatever ``function`` raised first.
    """
    wanted = torch.get_num_threads() if num_threads is None else num_threads
    num_bands = max(1, min(wanted, num_rows // max(1, min_rows)))
    edges = [num_rows * band // num_bands for band in range(num_bands + 1)]
    bands = list(pairwise(edges)) if num_rows else []
    if len(bands) <= 1:
        for start, stop in bands:
            function(start, stop)
        return
    with ThreadPoolExecutor(len(bands) - 1) as pool:
        others = [pool.submit(function, start, stop) for start, stop in bands[1:]]
        function(*bands[0])
        for other in others:
            other.result()
