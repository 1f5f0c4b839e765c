"""``lexiseg models``: what can be loaded, under which licence, and whether it is here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the models that are known by name, with the licence of their weights.

    Any other CLIP, SigLIP or SigLIP 2 checkpoint loads by its hub id or folder.
    """

    def run(self) -> int:
        """Print the table; give the exit code."""
        from rich.console import Console
        from rich.table import Table

        from lexiseg.recipes import known_models

        table = Table(highlight=False)
        for heading in ("name", "what it is", "weights", "licence", "here"):
            table.add_column(heading)
        for model in known_models():
            table.add_row(
                model.name,
                model.summary,
                f"{model.megabytes:,} MB",
                model.licence,
                "yes" if model.is_here() else "no",
            )
        Console().print(table)
        return 0
