"""The description of the package index: the README without links into a repository that it does not lie in.

Everything else stands in pyproject.toml. The source distribution has the pages that are named.
"""

import re
from pathlib import Path

from setuptools import setup


def readme_of_index(text: str) -> str:
    """Leave out pictures that lie beside the README, and name pages that do instead of linking to them."""
    text = re.sub(r"!\[[^\]]*\]\((?!https?://)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?://|#)([^)#]*)(?:#[^)]*)?\)", _named, text)


def _named(link: re.Match[str]) -> str:
    words, path = link.groups()
    return words if words == path else f"{words} (`{path}`)"


if __name__ == "__main__":
    setup(
        long_description=readme_of_index(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
