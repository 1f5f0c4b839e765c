"""What an ablation is: cells that are trained and measured, and claims that compare them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from lexiseg.core.errors import InputError, UnknownNameError

Place = tuple[str, str]
Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One place of the table.

    Attributes:
        row: Heading of its row.
        column: Heading of its column.
        trained_with: Changes to the recipe, by dotted name. Cells with equal changes share one training.
        measured_with: Further changes that only measuring sees.
        seeds: Seeds of this cell; None takes all of the run.
        retrained: Measure the second model of a re-training (SimFormer's ``*``) that the training begins.
    """

    row: str
    column: str = ""
    trained_with: Mapping[str, Any] = field(default_factory=dict)
    measured_with: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    retrained: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An ordering that the paper shows or implies.

    Attributes:
        says: In words, with the published figures.
        better: Row and column of the cell that should be higher.
        worse: Row and column of the other.
        measure: What is compared; None takes the first measure of the ablation.
        by_at_most: The claim is instead that the two are no further apart than this.
        by_at_least: Least mean difference that counts as one, stated before anything is measured.
    """

    says: str
    better: Place
    worse: Place
    measure: str | None = None
    by_at_most: float | None = None
    by_at_least: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Learns:
    """What has to hold before an ordering of rows says anything: the training has learnt what there is to learn.

    Attributes:
        reaches: Row and column of the cell with all that can be known.
        of: Row and column of what it is measured by: a plain network on the same features, trained as long.
        share: Least part of the second that the first has to reach.
        measure: What is compared.
    """

    reaches: Place
    of: Place
    share: float = 0.9
    measure: str = "mean_iou"


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A table of a paper, made again at a size that this machine can train.

    Attributes:
        name: What ``lexiseg ablate`` takes.
        title: Heading of the table.
        recipe: Name of the recipe that every cell changes.
        cells: In the order they are shown.
        measures: Numbers to show, as the recipe's ``evaluate`` names them; the first fills the table.
        claims: What is checked.
        learns: What has to hold in a column before a claim about any cell of it is one.
        published: The paper's number of each cell, where it prints one.
        seeds: Seeds a run takes unless it is told otherwise.
        needs_data: The recipe reads a data set, whose folder the run is to be told (``data.path``).
    """

    name: str
    title: str
    recipe: str
    cells: tuple[Cell, ...]
    measures: tuple[str, ...]
    claims: tuple[Claim, ...] = ()
    learns: tuple[Learns, ...] = ()
    published: Mapping[Place, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    needs_data: bool = False

    @property
    def file_stem(self) -> str:
        """Name without what file names cannot hold."""
        return self.name.replace("/", "-").replace(":", "-")

    def __post_init__(self) -> None:
        places = [(cell.row, cell.column) for cell in self.cells]
        assert len(places) == len(set(places)), f"{self.name}: two cells in one place"
        for claim in self.claims:
            assert {claim.better, claim.worse} <= set(places), f"{self.name}: a claim about no cell: {claim}"
        for learns in self.learns:
            assert {learns.reaches, learns.of} <= set(places), f"{self.name}: measured by no cell: {learns}"
            assert learns.reaches[1] == learns.of[1], f"{self.name}: of two columns: {learns}"


def with_changes(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Change fields of nested settings by dotted names, such as ``method.train_responses``.

    Raises:
        UnknownNameError: There is no such field.
        InputError: A name goes into something that has no fields.
    """
    for name, value in changes.items():
        settings = _with_change(settings, name.split("."), value, name)
    return settings


def _with_change(settings: Any, parts: list[str], value: Any, whole: str) -> Any:
    if not is_dataclass(settings) or isinstance(settings, type):
        raise InputError(
            doing=f"changing the setting {whole!r}",
            found=f"{type(settings).__name__}, which has no fields, before {parts[0]!r}",
            expected="the dotted name of a field, such as optim.lr",
            fix="Leave out the last part of the name.",
        )
    known = [one.name for one in fields(settings)]
    if parts[0] not in known:
        raise UnknownNameError.of("setting", whole, known)
    inner = value if len(parts) == 1 else _with_change(getattr(settings, parts[0]), parts[1:], value, whole)
    return replace(settings, **{parts[0]: inner})
