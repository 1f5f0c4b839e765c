"""Keep tests away from the person's own caches and from the network."""

import ipaddress
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator

import jaxtyping
import pytest

from quick_part import on_the_diagonal

# Set before anything of ours is imported. Workers of one run share the folder: words are embedded once.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="lexiseg-tests-")
    os.environ["LEXISEG_CACHE"] = _cache.name
os.environ["HF_HUB_OFFLINE"] = "1"


def _refuse_network(event: str, given: tuple[object, ...]) -> None:
    """Fail where a test asks another machine, or for its address; this machine's own sockets are fine."""
    if event == "socket.getaddrinfo":
        host = given[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(given[1], tuple):
        host = given[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", os.uname().nodename if hasattr(os, "uname") else ""):
        return
    try:
        is_here = ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise RuntimeError(f"a test asked the network: {event} {name}")


sys.addaudithook(_refuse_network)


@pytest.hookimpl(tryfirst=True)  # before -m reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the mark off those rows of a table, marked ``exhaustive("a", "b")``, that stay in the quick part."""
    tables = defaultdict(list)
    for item in items:
        mark = item.get_closest_marker("exhaustive")
        if mark is not None and mark.args:
            tables[item.path, item.originalname].append(
                (item, [id(item.callspec.params[a]) for a in mark.args])
            )
    for rows in tables.values():
        lists = [list(dict.fromkeys(column)) for column in zip(*(values for _, values in rows), strict=True)]
        for item, values in rows:
            places = [known.index(value) for known, value in zip(lists, values, strict=True)]
            if on_the_diagonal(places, [len(known) for known in lists]):
                item.own_markers = [mark for mark in item.own_markers if mark.name != "exhaustive"]


@pytest.fixture
def without_type_checker() -> Iterator[None]:
    """Let wrong types in, as on a person's machine, where nothing checks signatures."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
