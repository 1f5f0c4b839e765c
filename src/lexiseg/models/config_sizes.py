"""Numbers of a config.json that no network has: one would be built layer by layer, for hours, before anything is compared."""

import re
from collections.abc import Mapping
from typing import Any

#: Published networks have a tenth of each.
_MOST_LAYERS, _MOST_ENTRIES, _MOST_OF_ANYTHING = 1_000, 10_000, 10_000_000
_LAYERS = re.compile("layer|depth|block|stage")


def absurd_size(config: Mapping[str, Any]) -> str:
    """Say which number of a checkpoint's settings is beyond any network; empty where none is."""
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            if len(value) > _MOST_ENTRIES:
                return f"{key} of {len(value):,} entries"
            waiting += [(key, each) for each in value]
        elif isinstance(value, int) and abs(value) > (
            _MOST_LAYERS if _LAYERS.search(key) else _MOST_OF_ANYTHING
        ):
            return f"{key} = {value:,}"
    return ""
