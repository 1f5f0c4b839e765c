"""PasteSettings: scenes of real artwork, cut-outs pasted on procedural stuff."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lexiseg.data.scenes.settings import WorldSettings


@dataclass(frozen=True, kw_only=True)
class PasteSettings(WorldSettings):
    """How paste scenes are made.

    Attributes:
        folder: Holds RGBA pictures: with ``names.tsv`` (file, tab, name, tab, further names), or named
            ``NAME.png``, or in folders ``NAME/``.
        names: The classes to use; empty for all. In the order of the folder.
        further_names: Whether the further names of ``names.tsv`` become synonyms.
        unseen_in_training: As for all scenes; here unseen classes do not occur at all.
        tilt: Largest turn to either side as the sine of the angle; 2 turns any way.
        mirrored: Whether half of the cut-outs are mirrored.
        light_jitter: How far the brightness of cut-outs and the colours of stuff move.
    """

    folder: Path
    names: tuple[str, ...] = ()
    further_names: bool = False
    unseen_in_training: Literal["hidden", "labelled", "absent"] = "absent"
    tilt: float = 0.3
    mirrored: bool = True
    light_jitter: float = 0.5

    @property
    def subject(self) -> str:
        """What an error says was being read."""
        return f"paste scenes of {self.folder}"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._bound("light_jitter", self.light_jitter, 0.0, 1.0)
        if self.tilt != 2:
            self._bound("tilt", self.tilt, 0.0, 1.0)
