"""Keep tests away from the person's own caches and from the network."""

import os
import tempfile

# Set before anything of ours is imported. Workers of one run share the folder: words are embedded once.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="lexiseg-tests-")
    os.environ["LEXISEG_CACHE"] = _cache.name
os.environ["HF_HUB_OFFLINE"] = "1"
