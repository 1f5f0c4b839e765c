"""Keep tests away from the person's own caches and from the network."""

import os
import tempfile
from collections.abc import Iterator

import jaxtyping
import pytest

# Set before anything of ours is imported. Workers of one run share the folder: words are embedded once.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="lexiseg-tests-")
    os.environ["LEXISEG_CACHE"] = _cache.name
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def without_type_checker() -> Iterator[None]:
    """Let wrong types in, as on a person's machine, where nothing checks signatures."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
