"""``lexiseg protocols``: the named ways of counting, and every choice behind a name."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from lexiseg.cli.options import option
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Protocols:
    """List the protocols that predict and score know, or show every choice of some."""

    names: tyro.conf.Positional[
        Annotated[tuple[str, ...], option("NAME", "Show every choice of these.")]
    ] = ()

    def run(self) -> int:
        """Print; return the exit code."""
        from rich.table import Table

        from lexiseg.scoring.published import PROTOCOLS, find_protocol

        if self.names:
            print("\n\n".join(str(find_protocol(name)) for name in self.names))
            return 0
        table = Table(highlight=False)
        for heading in ("protocol", "classes", "background", "averaged", "source"):
            table.add_column(heading)
        for protocol in PROTOCOLS.values():
            table.add_row(
                protocol.name,
                "any" if protocol.num_classes is None else str(protocol.num_classes),
                protocol.true_background.replace("_", " "),
                protocol.averaging.replace("_", " "),
                protocol.source,
            )
        open_console().print(table)
        return 0
