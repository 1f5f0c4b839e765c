"""``lexiseg licences``: of what a model is made, under which licences."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.options import Licence, MethodChanges, ModelName, Trust, option

_NOTE = (
    "Licences are those of weights; images and texts that they were trained on have licences of their own."
)


@dataclass(frozen=True, kw_only=True)
class Licences:
    """Print the bill of materials of a model: every part, its licence, its source and what it was trained on.

    Parts follow from the model's name and settings; nothing is downloaded. With --licence the exit code is 2 where a part is
    under another kind of licence, as with every command that loads a model.
    """

    model: tyro.conf.Positional[ModelName]
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    json: Annotated[Path | None, option("FILE", "Write the parts as JSON too.")] = None

    def run(self) -> int:
        """Print, and return the exit code."""
        from dataclasses import asdict

        from lexiseg.runs.licences import list_parts, refuse_other_licences, strictest
        from lexiseg.runs.method_settings import parse_changes
        from lexiseg.scoring.report import write_json

        parts = list_parts(self.model, parse_changes(self.set_), trust=self.trust)
        most = strictest(parts)
        for part in parts:
            print(part.name)
            print(f"  licence     {part.licence} ({part.terms})\n  source      {part.source}")
            print(f"  trained on  {part.trained_on}")
        print(f"strictest: {most.licence} ({most.terms}), of {most.name}\n{_NOTE}")
        if self.json is not None:
            listed = [{**asdict(part), "terms": part.terms} for part in parts]
            write_json({"model": self.model, "parts": listed, "strictest": most.licence}, self.json)
        refuse_other_licences(self.model, parts, self.licence)
        return 0
