"""``lexiseg start``: say what a folder has, and get the commands for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lexiseg.cli.fit import Backbone
from lexiseg.cli.options import Licence, option, refuse_networks

if TYPE_CHECKING:
    from lexiseg.data.inventory import Inventory
    from lexiseg.runs.regimes import Way


@dataclass(frozen=True, kw_only=True)
class Start:
    """Look at a folder: what it allows, which commands to run, what they take on this machine.

    Reads classes, captions, tags, masks and unlabelled images of our own layout, and masks of COCO, VOC, YOLO, LabelMe, CVAT
    and Label Studio where they lie; knows captions in every layout that train takes, published data sets and plain folders of
    images. Times are measured on this machine, in seconds, once.
    """

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER", help="What you have.")]
    write: Annotated[
        bool,
        option(
            "",
            "Write train.txt, val.txt and seen.txt where they are missing, and lexiseg.toml, a commented recipe.",
        ),
    ] = False
    backbone: Backbone = "auto"
    again: Annotated[bool, option("", "Measure this machine again.")] = False
    json: Annotated[Path | None, option("FILE", "Write all of it as JSON.")] = None
    licence: Licence = "any"

    def run(self) -> int:
        """Look, measure and print; return the exit code."""
        from lexiseg.data.inventory import OWN, take_inventory
        from lexiseg.runs.regimes import advise
        from lexiseg.runs.split_files import propose_splits
        from lexiseg.scoring.report import write_json

        found = take_inventory(self.folder)
        lists = propose_splits(found) if found.kind == OWN else {}
        advice = advise(found, has_val="val" in found.splits)
        print("\n".join(_describe(found)))
        written = self._written(found, lists, advice.best)
        if written:
            found = take_inventory(self.folder)
            advice = advise(found, has_val="val" in found.splits)
        print(f"\nBegin with: {advice.best.regime}\n  {advice.best.why}")
        for command in advice.best.commands:
            print(f"    {command}")
        measured = self._measured(found, lists, advice.best)
        for way in advice.others:
            print(f"\nOr: {way.regime}\n  {way.why}")
            for command in way.commands:
                print(f"    {command}")
        if advice.missing:
            print("\nNot there:")
            for text in advice.missing:
                print(f"  - {text}")
        if lists and not self.write:
            print(f"\nlexiseg start {self.folder} --write writes {', '.join(lists)} and lexiseg.toml.")
        if self.json is not None:
            write_json(_as_json(found, advice, measured, written), self.json)
        return 0

    def _written(self, found: "Inventory", lists: dict[str, list[str]], best: "Way") -> list[Path]:
        """Write the lists and the recipe, where that is asked for."""
        if not self.write:
            return []
        from lexiseg.core.errors import InputError
        from lexiseg.data.inventory import OWN
        from lexiseg.recipes.frozen_head import default_backbone
        from lexiseg.runs.split_files import recipe_text, write_lists

        if found.kind != OWN:
            raise InputError(
                doing=f"writing split files into {found.path}",
                found=f"{found.kind}, not our own layout",
                expected="a folder with classes.txt and images/",
                fix="Leave --write out, and follow the commands first.",
            )
        texts = dict(lists)
        if best.labels:
            backbone = default_backbone() if self.backbone == "auto" else self.backbone
            texts["lexiseg.toml"] = recipe_text(
                found.path, best.labels, backbone, best.why + "."
            ).splitlines()
        written = write_lists(found.path, texts)
        print("\nwritten: " + (", ".join(str(path) for path in written) or "nothing; all is there"))
        return written

    def _measured(
        self, found: "Inventory", lists: dict[str, list[str]], best: "Way"
    ) -> dict[str, float] | None:
        """Say what the first command takes here."""
        if not best.labels or found.vocabulary is None:
            return None
        from lexiseg.engine.pace import duration
        from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
        from lexiseg.recipes.frozen_head import default_backbone
        from lexiseg.runs.calibration import calibrate

        backbone = default_backbone() if self.backbone == "auto" else self.backbone
        settings = FrozenHeadSettings(backbone=backbone)
        refuse_networks(backbone, self.licence, settings)
        times, is_new = calibrate(settings, len(found.vocabulary), again=self.again)
        num_scored = found.splits.get("val", 0)
        num_images = found.splits.get("train", len(found.images) - num_scored)
        seconds = times.fit_seconds(num_images, num_scored, settings.num_rounds)
        memory = times.fit_memory(num_images)
        print(
            f"  about {duration(seconds)} and {memory / 2**30:.1f} GiB of memory on this machine ({backbone}, "
            f"{duration(times.encode)} an image, {'measured now' if is_new else 'as measured before'})"
        )
        return {"seconds": seconds, "bytes": memory, "seconds_an_image": times.encode}


def _describe(found: "Inventory") -> list[str]:
    """Write what a folder has."""
    kinds = {
        "folder": "a folder of our own layout",
        "images": "images alone",
        "captions": "images with captions",
    }
    other = f"annotations in the format {found.kind}" if found.is_folder else f"a copy of {found.kind}"
    lines = [f"{found.path}: {kinds.get(found.kind, other)}"]
    if found.images:
        lines.append(f"  images     {len(found.images):,}")
    if found.vocabulary is not None:
        names = found.vocabulary.names
        lines.append(f"  classes    {len(names)}: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}")
    if found.labelled and found.vocabulary is not None:
        part = "" if found.num_read == len(found.labelled) else f", {found.num_read:,} of them read"
        lines.append(
            f"  masks      {len(found.labelled):,} images, {len(found.masked_classes)} classes{part}"
            + ("" if found.vocabulary.seen is None else " (by seen.txt)")
        )
    if found.num_scored:
        lines.append(f"  scored     {found.num_scored:,} images with masks, never learnt from")
    if found.tagged:
        lines.append(f"  tags       {len(found.tagged):,} images")
    if found.captioned:
        lines.append(f"  captions   {len(found.captioned):,} images")
    if found.splits:
        lines.append(
            "  lists      " + ", ".join(f"{name}.txt {count:,}" for name, count in found.splits.items())
        )
    lines += [f"  note: {note}" for note in found.notes]
    return lines


def _as_json(
    found: "Inventory", advice: Any, measured: dict[str, float] | None, written: list[Path]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "folder": str(found.path),
        "kind": found.kind,
        "images": len(found.images),
        "classes": None if found.vocabulary is None else len(found.vocabulary),
        "classes_with_masks": len(found.masked_classes),
        "labelled": len(found.labelled),
        "scored": found.num_scored,
        "tagged": len(found.tagged),
        "captioned": len(found.captioned),
        "lists": found.splits,
        "best": asdict(advice.best),
        "others": [asdict(way) for way in advice.others],
        "missing": list(advice.missing),
        "on_this_machine": measured,
        "written": [str(path) for path in written],
    }
