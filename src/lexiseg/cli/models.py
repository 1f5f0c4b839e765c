"""``lexiseg models``: what can be loaded, under which licence, and whether it is here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the models that are known by name, with the licence of their weights.

    Any other CLIP, SigLIP or SigLIP 2 checkpoint loads by its hub id or folder.
    """

    def run(self) -> int:
        """Print the table, or plain lines where it does not fit; give the exit code."""
        from rich.console import Console
        from rich.table import Table

        from lexiseg.runs.load import known_models

        headings = ("name", "weights", "licence", "here", "what it is")
        rows = [
            (
                model.name,
                f"{model.megabytes:,} MB",
                model.licence,
                "yes" if model.is_here() else "no",
                model.summary,
            )
            for model in known_models()
        ]
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        console = Console()
        framed = sum(width + 3 for width in widths) + 1
        if console.is_terminal and framed <= console.width:
            table = Table(*headings, highlight=False)
            for row in rows:
                table.add_row(*row)
            console.print(table)
            return 0
        for row in (headings, *rows):  # names are copied from here: never cut, and one a line
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return 0
