"""``lexiseg licences``: of what a model is made, under which licences."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from lexiseg.cli.options import Licence, MethodChanges, ModelName, Trust


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
    json: Annotated[
        bool, tyro.conf.arg(help="Print JSON.", help_behavior_hint=""), tyro.conf.FlagCreatePairsOff
    ] = False

    def run(self) -> int:
        """Print, and return the exit code."""
        import json
        from dataclasses import asdict

        from lexiseg.runs.licences import list_parts, refuse_other_licences, strictest
        from lexiseg.runs.method_settings import parse_changes

        parts = list_parts(self.model, parse_changes(self.set_), trust=self.trust)
        most = strictest(parts)
        if self.json:
            listed = [{**asdict(part), "terms": part.terms} for part in parts]
            print(json.dumps({"model": self.model, "parts": listed, "strictest": most.licence}, indent=1))
        else:
            for part in parts:
                print(
                    f"{part.name}\n  licence     {part.licence} ({part.terms})\n  source      {part.source}"
                )
                print(f"  trained on  {part.trained_on}")
            print(f"strictest: {most.licence} ({most.terms}), of {most.name}")
            print(
                "Licences are those of weights; images and texts that they were trained on have licences of their own."
            )
        refuse_other_licences(self.model, parts, self.licence)
        return 0
