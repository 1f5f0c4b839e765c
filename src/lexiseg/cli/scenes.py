"""``lexiseg scenes``: make a folder of synthetic scenes, or a sheet to look at."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lexiseg.cli.options import option
from lexiseg.cli.progress import progress
from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    from lexiseg.data.scenes.settings import WorldSettings


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What scenes are like; what is left out is the preset's own choice."""

    preset: Annotated[
        Literal["localisation", "common-class", "curation", "weak-shot", "zero-shot"] | None,
        option(
            "localisation|common-class|curation|weak-shot|zero-shot",
            "Scenes for a purpose: captions and background; a person nearly everywhere; captions that leave much "
            "out; masks of some classes and tags of the others; the same with names only.",
        ),
    ] = None
    from_: Annotated[
        Path | None,
        tyro.conf.arg(
            name="from",
            metavar="CUTOUTS",
            help="Paste RGBA cut-outs of this folder instead of painting shapes: NAME.png, NAME/anything.png, "
            "or names.tsv.",
            help_behavior_hint="",
        ),
    ] = None
    names: Annotated[str | None, option("WORDS", "For --from: the cut-outs to use, separated by commas.")] = (
        None
    )
    size: Annotated[int | None, option("PIXELS", "Height and width; 64 if left out.")] = None
    things: Annotated[int | None, option("COUNT", "Classes with a shape, at most 24; not for --from.")] = None
    stuffs: Annotated[int | None, option("COUNT", "Classes without a shape, at most 12.")] = None
    things_per_scene: Annotated[
        tuple[int, int] | None, option("FEWEST MOST", "Things in one scene, at most 8.")
    ] = None
    unseen: Annotated[str | None, option("WORDS", "Unseen classes, separated by commas.")] = None
    unseen_share: Annotated[
        float | None, option("SHARE", "Share of the classes that is unseen, instead of --unseen.")
    ] = None
    captions: Annotated[int | None, option("COUNT", "Captions of one scene.")] = None
    synonyms: Annotated[float | None, option("SHARE", "How often captions name a class by another word.")] = (
        None
    )
    void: Annotated[float | None, option("SHARE", "Share of pixels without a label.")] = None
    seed: Annotated[int, tyro.conf.arg(metavar="SEED", help="Other seeds give other scenes.")] = 0

    def settings(self) -> "WorldSettings":
        """Build the settings.

        Raises:
            InputError: Options contradict each other or are out of range.
        """
        from lexiseg.core.word_lists import split_words
        from lexiseg.data.scenes.settings import PasteSettings, SceneSettings, find_preset

        given: dict[str, Any] = {
            "size": self.size,
            "num_things": self.things,
            "num_stuffs": self.stuffs,
            "things_per_scene": self.things_per_scene,
            "unseen": None if self.unseen is None else tuple(split_words(self.unseen)),
            "unseen_share": self.unseen_share,
            "captions_per_scene": self.captions,
            "synonym_rate": self.synonyms,
            "void_share": self.void,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if self.seed < 0:
            raise _refusal(f"--seed {self.seed}", "0 or more", "Choose another seed.")
        if self.from_ is None:
            if self.names is not None:
                raise _refusal("--names without --from", "both", "Give the folder of cut-outs with --from.")
            base = find_preset(self.preset) if self.preset else SceneSettings()
            if self.unseen_share is not None:
                changes.setdefault("unseen", ())  # instead of the preset's own
            elif self.unseen is not None:
                changes["unseen_share"] = 0.0
            return dataclasses.replace(base, **changes)
        for flag, value in (("--preset", self.preset), ("--things", self.things)):
            if value is not None:
                raise _refusal(f"{flag} with --from", "one of the two", f"Leave {flag} out.")
        if self.names is not None:
            changes["names"] = tuple(split_words(self.names))
        if self.synonyms:
            changes["further_names"] = True
        return PasteSettings(folder=self.from_, **changes)


@dataclass(frozen=True, kw_only=True)
class MakeScenes:
    """Write scenes as a data folder: images, label maps, tags, captions, lists for training and validation.

    The same command goes on where it was stopped.
    """

    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT", help="The folder to write.")]]
    scenes: SceneOptions = dataclasses.field(default_factory=SceneOptions)
    num: Annotated[int, tyro.conf.arg(metavar="COUNT", help="Scenes in all.")] = 400
    num_val: Annotated[
        int | None, option("COUNT", "How many of them are for validation; a quarter if left out.")
    ] = None
    hide_unseen: Annotated[
        bool,
        tyro.conf.arg(
            help="Make pixels of unseen classes void in the training label maps.",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False

    def run(self) -> int:
        """Write; return the exit code."""
        from lexiseg.data.scenes.write_folder import write_scene_folder

        settings = self.scenes.settings()
        num_val = self.num // 4 if self.num_val is None else self.num_val
        with progress("drawing scenes", self.num) as advance:
            written = write_scene_folder(
                settings,
                self.out,
                num=self.num,
                num_val=num_val,
                seed=self.scenes.seed,
                hide_unseen=self.hide_unseen,
                advance=advance,
            )
        kept = f", {self.num - written:,} were there already" if written < self.num else ""
        print(f"{written:,} scenes written to {self.out}{kept}")
        return 0


@dataclass(frozen=True, kw_only=True)
class ShowScenes:
    """Draw a sheet of scenes: image and labels side by side, with class names and captions."""

    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT.png", help="The sheet to write.")]]
    scenes: SceneOptions = dataclasses.field(default_factory=SceneOptions)
    num: Annotated[int, tyro.conf.arg(metavar="COUNT", help="Scenes on the sheet.")] = 12

    def run(self) -> int:
        """Draw; return the exit code."""
        from lexiseg.core.atomic_write import atomic_path
        from lexiseg.data.scenes.draw import SceneDataset
        from lexiseg.data.scenes.write_folder import draw_sheet

        if self.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise _refusal(f"the sheet {self.out}", "an image: .png, .jpg or .webp", "Name it sheet.png.")
        dataset = SceneDataset(self.scenes.settings(), self.num, seed=self.scenes.seed)
        sheet = draw_sheet(list(dataset), dataset.vocabulary)
        with atomic_path(self.out) as temporary:
            sheet.save(temporary)
        print(f"{self.num} scenes of {len(dataset.vocabulary)} classes on {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Make synthetic scenes: endless small images with exact masks, names, tags and captions."""

    action: (
        Annotated[MakeScenes, tyro.conf.subcommand("make", prefix_name=False)]
        | Annotated[ShowScenes, tyro.conf.subcommand("show", prefix_name=False)]
    )

    def run(self) -> int:
        """Do it; return the exit code."""
        return self.action.run()


def _refusal(found: str, expected: str, fix: str) -> InputError:
    return InputError(doing="reading the options of scenes", found=found, expected=expected, fix=fix)
