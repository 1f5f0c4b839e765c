"""``lexiseg references``: build, look at and merge banks of reference images."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lexiseg.cli.options import (
    ClassesFile,
    Device,
    Licence,
    MethodChanges,
    option,
    read_vocabulary,
    refuse_networks,
)
from lexiseg.cli.progress import progress
from lexiseg.cli.unlabelled_regions import build_unlabelled
from lexiseg.cli.worker_options import WorkerOptions
from lexiseg.core.errors import InputError
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Count the images and denoising steps it takes to generate references, before anyone starts."""

    words: Annotated[str | None, option("WORDS", "Class names separated by commas.")] = None
    classes_file: Annotated[Path | None, option("FILE", "Class names one a line; instead of --words.")] = None
    images: Annotated[int, tyro.conf.arg(metavar="K", help="Images a class.")] = 50
    steps: Annotated[int, tyro.conf.arg(metavar="STEPS", help="Denoising steps an image.")] = 50

    def run(self) -> int:
        """Print; return the exit code."""
        vocabulary = read_vocabulary(self.words, self.classes_file)
        cost = generation_cost(len(vocabulary), images_per_class=self.images, steps_per_image=self.steps)
        print(
            f"{len(vocabulary):,} classes: {cost.images:,} images, {cost.steps:,} denoising steps, "
            f"{cost.passes:,} passes with guidance"
        )
        return 0


_BANK = tyro.conf.arg(metavar="BANK", help="A bank of reference images.")


@dataclass(frozen=True, kw_only=True)
class Build:
    """Build references for classes, or add classes to a bank; or a bank of regions without classes, for corrclip.

    A stopped build goes on where it was when the same command is run again; classes that are in the
    bank already, from the same images and with the same settings, are kept as they are.
    """

    source: Annotated[
        Literal["generate", "folder", "cutouts"] | None,
        tyro.conf.arg(
            metavar="generate|folder|cutouts",
            help="Images from Stable Diffusion, from a folder for each class, or RGBA cut-outs with names.",
        ),
    ] = None
    unlabelled: Annotated[
        Path | None,
        option(
            "PHOTOS", "Instead of --source: describe the regions of these photographs, for --set beside.bank."
        ),
    ] = None
    model: Annotated[
        str | None,
        option("ID|FOLDER", "For --unlabelled: the CLIP whose patches are kept, with the head corrclip."),
    ] = None
    set_: MethodChanges = ()
    out: Annotated[Path, tyro.conf.arg(metavar="BANK", help="The file to write, or to add to.")]
    words: Annotated[str | None, option("WORDS", 'Class names separated by commas: "cat, dog".')] = None
    classes_file: ClassesFile = None
    from_: Annotated[
        Path | None,
        tyro.conf.arg(
            name="from", metavar="PATH", help="Where folder and cutouts find images.", help_behavior_hint=""
        ),
    ] = None
    encoder: Annotated[
        str,
        tyro.conf.arg(
            metavar="NAME|ID|FOLDER",
            help="Image encoder: mini, dinov2-small, or a DINOv2 or CLIP checkpoint.",
        ),
    ] = "mini"
    images: Annotated[int, tyro.conf.arg(metavar="K", help="Images a class.")] = 50
    subcategories: Annotated[int, tyro.conf.arg(metavar="J", help="References a class.")] = 5
    seed: Annotated[int, tyro.conf.arg(metavar="SEED", help="Of k-means and of generated images.")] = 0
    generator: Annotated[
        str | None, option("FOLDER", "For generate: Stable Diffusion 1.x or 2.x in the layout of diffusers.")
    ] = None
    sam: Annotated[
        str | None,
        option("ID|FOLDER", "SAM or SAM 2: for generate, and for images of folder that have no mask."),
    ] = None
    steps: Annotated[int, tyro.conf.arg(metavar="STEPS", help="For generate: denoising steps.")] = 50
    licence: Licence = "any"
    device: Device = "auto"
    bulk: WorkerOptions = field(default_factory=WorkerOptions)

    def run(self) -> int:
        """Build; return the exit code, 1 where a class got no reference or an image could not be read."""
        if (self.source is None) == (self.unlabelled is None):
            raise InputError(
                doing="building references",
                found="neither --source nor --unlabelled"
                if self.source is None
                else "--source and --unlabelled",
                expected="one of them: images of classes, or photographs without any",
                fix="Give --source cutouts|folder|generate with --words, or --unlabelled PHOTOS with --model.",
            )
        if self.unlabelled is not None:
            return build_unlabelled(
                self.unlabelled, self.model, self.set_, self.out, self.device, self.licence
            )
        assert self.source is not None
        from functools import partial

        from lexiseg.methods.rim.references.bank import rejection_text
        from lexiseg.methods.rim.references.build import build_bank
        from lexiseg.methods.rim.references.build_class import BuildSettings
        from lexiseg.models.checkpoint import fingerprint
        from lexiseg.runs.bulk.each import mapper
        from lexiseg.runs.references import open_references

        refuse_networks(self.encoder, self.licence, self.encoder, self.generator, self.sam)
        vocabulary = read_vocabulary(self.words, self.classes_file)
        workers = self.bulk.chosen()
        opened_by = partial(
            open_references,
            self.source,
            self.from_,
            encoder=self.encoder,
            device=self.device,
            generator=self.generator,
            sam=self.sam,
            steps=self.steps,
            seed=self.seed,
        )
        source, encoder, short_side = opened_by()
        settings = BuildSettings(
            images=self.images, subcategories=self.subcategories, short_side=short_side, seed=self.seed
        )
        facts = {"name": self.encoder, "fingerprint": fingerprint(encoder)}
        with progress("building references", len(vocabulary)) as advance:
            built = build_bank(
                vocabulary.names,
                source,
                encoder,
                self.out,
                encoder_facts=facts,
                synonyms=vocabulary.synonyms,
                settings=settings,
                advance=advance,
                apply=mapper("building references", workers, uses_gpu=self.device != "cpu"),
                opened_by=opened_by,
            )
        for note in built.notes:
            print(f"note: {note}", file=sys.stderr)
        print(
            f"{len(built.made)} class{'' if len(built.made) == 1 else 'es'} built, {len(built.kept)} already there; {self.out}"
        )
        for name, reasons in built.rejected.items():
            print(f"  no reference for {name}: {rejection_text(reasons)}", file=sys.stderr)
        for origin, why in built.damaged.items():
            print(f"  failed: {origin}: {why}", file=sys.stderr)
        return 1 if built.rejected or built.damaged else 0


@dataclass(frozen=True, kw_only=True)
class Show:
    """List the classes of a bank: images, where their masks came from, references, rejected images and why."""

    bank: tyro.conf.Positional[Annotated[Path, _BANK]]

    def run(self) -> int:
        """Print; return the exit code."""
        from rich.table import Table

        from lexiseg.methods.rim.references.bank import ReferenceBank, describe_encoder, rejection_text

        bank = ReferenceBank(self.bank)
        table = Table(highlight=False)
        for heading in ("class", "source", "images", "masks", "references", "rejected"):
            table.add_column(heading)
        for row in bank.manifest["classes"]:
            facts = row["facts"]
            first, stop = row["references"]
            table.add_row(
                row["name"],
                facts["source"],
                str(len(row["origins"])),
                _masks_text(facts),
                str(stop - first),
                rejection_text(facts),
            )
        for name, facts in bank.rejected.items():
            table.add_row(name, facts["source"], "0", "", "0", rejection_text(facts))
        console = open_console()
        console.print(table)
        size = self.bank.stat().st_size / 1e6
        console.print(f"{len(bank)} classes, {size:.1f} MB; image encoder {describe_encoder(bank.encoder)}")
        return 0


def _masks_text(facts: Mapping[str, Any]) -> str:
    """Say how many masks came with the images, and what found the others; banks of earlier versions do not tell."""
    masks = facts.get("masks")
    if masks is None:
        return "not recorded"
    by = f" by {facts['object_without_mask']}" if "object_without_mask" in facts else ""
    parts = {"given": masks["given"], f"found{by}": masks["found"]}
    return ", ".join(f"{count} {origin}" for origin, count in parts.items() if count)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Write one bank with the classes of several that were built with one image encoder."""

    banks: tyro.conf.Positional[tuple[Annotated[Path, _BANK], ...]]
    out: Annotated[Path, tyro.conf.arg(metavar="BANK", help="The file to write.")]

    def run(self) -> int:
        """Merge; return the exit code."""
        from lexiseg.methods.rim.references.bank import ReferenceBank, merge_banks

        if not self.banks:
            raise InputError(
                doing="merging reference banks",
                found="none",
                expected="two or more",
                fix="Name them: lexiseg references merge a.bank b.bank --out both.bank",
            )
        count = merge_banks([ReferenceBank(path) for path in self.banks], self.out)
        print(f"{count} classes in {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class References:
    """Build, show and merge banks of reference images, for RIM."""

    action: (
        Annotated[Build, tyro.conf.subcommand("build", prefix_name=False)]
        | Annotated[Show, tyro.conf.subcommand("show", prefix_name=False)]
        | Annotated[Merge, tyro.conf.subcommand("merge", prefix_name=False)]
        | Annotated[Cost, tyro.conf.subcommand("cost", prefix_name=False)]
    )

    def run(self) -> int:
        """Do it; return the exit code."""
        return self.action.run()


@dataclass(frozen=True, kw_only=True)
class GenerationCost:
    """Work of generating the references of a vocabulary; exact unless images are rejected and redrawn.

    Attributes:
        images: Images in all.
        steps: Denoising steps in all.
        passes: Passes through the denoiser: two a step with guidance.
    """

    images: int
    steps: int
    passes: int


def generation_cost(
    num_classes: int, *, images_per_class: int = 50, steps_per_image: int = 50, guided: bool = True
) -> GenerationCost:
    """Count images, steps and passes. Linear in the classes: one more costs only its own images.

    Args:
        num_classes: Classes to generate, without those a bank already has.
        images_per_class: 50 in the paper (RIM, CVPR 2024, supplement).
        steps_per_image: 50 in the paper.
        guided: With classifier-free guidance, which needs a second pass without the words.

    Raises:
        InputError: A number is below zero.
    """
    if min(num_classes, images_per_class, steps_per_image) < 0:
        raise InputError(
            doing="counting the work of generating images",
            found=f"{num_classes} classes, {images_per_class} images, {steps_per_image} steps",
            expected="numbers of zero or more",
            fix="Correct the negative one.",
        )
    images = num_classes * images_per_class
    steps = images * steps_per_image
    return GenerationCost(images=images, steps=steps, passes=steps * (2 if guided else 1))
