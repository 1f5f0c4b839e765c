"""Write docs/commands.md from the commands' own help.

python scripts/build_command_pages.py
"""

import contextlib
import io
import os
import re
from pathlib import Path

os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}

from lexiseg.cli import COMMANDS, GROUPS, main

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"


def help_of(name: str) -> str:
    """Return what ``lexiseg NAME --help`` prints, without colours."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([name, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).rstrip()


def page() -> str:
    """Return the page."""
    parts = ["# Commands", "", "Made from the commands' own help by `scripts/build_command_pages.py`.", ""]
    for group, names in GROUPS.items():
        parts += [f"## {group[0].upper()}{group[1:]}", ""]
        for name in names:
            lines = "\n".join(line.rstrip() for line in help_of(name).splitlines())
            parts += [f"### lexiseg {name}", "", COMMANDS[name][1], "", "```text", lines, "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
