"""The commands that the campaign of faults disturbs, with small inputs for each.

The list of commands is the command line's own: one that is new must get a case or a reason here (a test asks for it).
"""

import contextlib
import io
import json
import shutil
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

Run = Callable[[list[object]], None]

#: Commands without a case, and why.
LEFT_OUT = {
    "protocols": "writes nothing",
    "jobs failed": "writes nothing",
    "references show": "writes nothing",
    "references cost": "writes nothing",
    "datasets list": "writes nothing",
    "datasets show": "writes nothing",
    "datasets check": "writes nothing",
    "datasets splits": "writes nothing",
    "datasets similarity": "writes nothing but the cache of words",
    "serve": "writes nothing, and runs until it is stopped",
    "models": "writes with --get only, which asks a package registry",
    "doctor": "writes nothing",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command that writes.

    Attributes:
        arguments: From the place it writes to.
        prepare: Puts there what must be there before, as the folder that is converted.
        resumes: A file; where it is there, the command goes on with --resume only.
        refuses: Whether the command refuses to write where all is done already, as its help says.
    """

    arguments: Callable[[Path], list[object]]
    prepare: Callable[[Path], None] = lambda out: None
    resumes: str | None = None
    refuses: bool = False


def all_commands() -> list[str]:
    """Return every command of the command line, with its action where it has several."""
    from lexiseg.cli import COMMANDS

    names: list[str] = []
    for command, (where, _) in COMMANDS.items():
        module, _, attribute = where.partition(":")
        options = getattr(import_module(f"lexiseg.cli.{module}"), attribute)
        actions = typing.get_type_hints(options, include_extras=True).get("action")
        if actions is None:
            names.append(command)
        else:
            names += [f"{command} {typing.get_args(action)[1].name}" for action in typing.get_args(actions)]
    return names


class Cases:
    """The commands that write, over small inputs in a folder and with the smallest models: what they write is what matters.

    Args:
        folder: Of the inputs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.store, self.words = folder / "data", folder / "store", folder / "words.txt"
        self.clip, self.run, self.student = folder / "clip", folder / "run", folder / "student"
        self.banks = (folder / "one.bank", folder / "two.bank")

    def make_inputs(self, run: Run) -> None:
        """Make the inputs.

        Args:
            run: Runs a command to its end.
        """
        _write_foreign(self.folder)
        run(["scenes", "make", self.data, "--num", 6, "--num-val", 2, "--size", 48])
        self.words.write_text("\n".join(self._names()) + "\n")
        run(self._segment(self.folder / "results"))
        run(["predict", self.clip, "--data", self.data, "--out", self.store])
        run(self._build(self.banks[0], "leaf", "stone"))
        run(self._build(self.banks[1], "shell"))
        run(self._train(self.run))
        run(self._distil(self.student))
        for before, action in pairwise(("", "embed", "search", "rank", "cluster")):
            if before:
                _copy(self._stage(before), self._stage(action))
            run(self._curate(self._stage(action), action))

    def commands(self) -> dict[str, Case]:
        """Return the commands by name."""
        data, folder = self.data, self.folder
        return {
            "segment": Case(arguments=self._segment),
            "predict": Case(arguments=lambda out: ["predict", self.clip, "--data", data, "--out", out]),
            "evaluate": Case(arguments=lambda out: ["evaluate", self.clip, "--data", data, "--json", out / "e.json"]),
            "score": Case(
                arguments=lambda out: ["score", self.store, "--json", out / "s.json", "--plot", out / "s.png", "--resamples", 9]
            ),
            "calibrate": Case(
                arguments=lambda out: ["calibrate", out, "--none", data / "images"],
                prepare=lambda out: _copy(self.clip, out),
            ),
            "export": Case(arguments=lambda out: ["export", self.store, out / "masks.json"], refuses=True),
            "retrieve": Case(
                arguments=lambda out: ["retrieve", self.run, "--captions", data, "--json", out / "r.json", "--split", "val"]
            ),
            "classify": Case(
                arguments=lambda out: ["classify", self.clip, "--images", folder / "by-class", "--json", out / "c.json"]
            ),
            "gamma": Case(
                arguments=lambda out: ["gamma", self.student, "--gammas", -1, 0, 1, "--json", out / "g.json", "--device", "cpu"]
            ),
            "captions check": Case(
                arguments=lambda out: ["captions", "check", data, "--json", out / "c.json", "--invalid-log", out / "i.jsonl"]
            ),
            "captions pack": Case(arguments=lambda out: ["captions", "pack", data, "--out", out], refuses=True),
            "scenes make": Case(arguments=lambda out: ["scenes", "make", out, "--num", 24, "--size", 48]),
            "scenes show": Case(arguments=lambda out: ["scenes", "show", out / "sheet.png", "--num", 4, "--size", 48]),
            "references build": Case(arguments=lambda out: self._build(out / "x.bank", "leaf", "stone", "shell")),
            "references merge": Case(
                arguments=lambda out: ["references", "merge", *self.banks, "--out", out / "both.bank"]
            ),
            "datasets convert": Case(
                arguments=lambda out: ["datasets", "convert", "voc20", folder / "voc", "--out", out]
            ),
            "convert": Case(
                arguments=lambda out: ["convert", out], prepare=lambda out: _copy(folder / "pickled", out)
            ),
            "curate all": Case(arguments=lambda out: self._curate(out, "all")),
            "curate embed": Case(arguments=lambda out: self._curate(out, "embed")),
            "curate search": self._after("embed", "search"),
            "curate rank": self._after("search", "rank"),
            "curate cluster": self._after("rank", "cluster"),
            "curate show": Case(
                arguments=lambda out: ["curate", "show", self._stage("cluster"), _stem(data), "--out", out / "sheet.html"]
            ),
            "ablate": Case(
                arguments=lambda out: ["ablate", "toy_ablation:toy", "--out", out, "--seeds", 0, "--num-steps", 12]
            ),
            "sheet": Case(arguments=lambda out: ["sheet", folder / "results", "--out", out / "sheet.html"]),
            "start": Case(
                arguments=lambda out: ["start", out, "--write", "--backbone", "efficientnet-lite0"],
                prepare=lambda out: _copy(folder / "photos", out),
            ),
            "fit": Case(
                arguments=lambda out: ["fit", folder / "photos", "--out", out, "--use", "masks", "--prior", "none",
                                       "--backbone", "efficientnet-lite0"],
                refuses=True,
            ),
            "exchange": Case(
                arguments=lambda out: ["exchange", folder / "photos", "--masks", "1", "--divisions", 2, "--backbone",
                                       "efficientnet-lite0", "--json", out / "x.json", "--plot", out / "x.png"],
            ),
            "next": Case(
                arguments=lambda out: ["next", folder / "part", "--backbone", "efficientnet-lite0", "--json", out / "n.json"]
            ),
            "raster": Case(
                arguments=lambda out: ["raster", folder / "scene.tif", "--words", self._words(), "--model", self.clip,
                                       "--out", out]
            ),
            "video": Case(
                arguments=lambda out: ["video", folder / "moving.mp4", "--words", self._words(), "--model", self.clip,
                                       "--out", out]
            ),
            "explain": Case(
                arguments=lambda out: ["explain", self._image(), "--words", self._words(), "--model", self.clip,
                                       "--out", out / "why.html", "--json", out / "why.json"]
            ),
            "jobs show": Case(arguments=lambda out: ["jobs", "show", folder / "results", "--json", out / "j.json"]),
            "captions maps": Case(
                arguments=lambda out: ["captions", "maps", self._image(), "--model", self.run, "--sentence", "a red circle",
                                       "--out", out / "maps.png"]
            ),
            "licences": Case(arguments=lambda out: ["licences", self.student, "--json", out / "l.json"]),
            "pack": Case(arguments=lambda out: ["pack", self.run, "--out", out], refuses=True),
            "export-model": Case(
                arguments=lambda out: ["export-model", self.student, "--out", out / "m.onnx", "--names", "lamp, tree"]
            ),
            "train": Case(arguments=self._train, resumes="recipe.json"),
            "distil": Case(arguments=self._distil, resumes="recipe.json"),
            "retrain": Case(
                arguments=lambda out: ["retrain", "simformer/tiny", "--out", out, "--run.num-steps", 2, "--run.batch-size", 4,
                                       "--data.num-scenes", 8, "--pseudo-masks.min-pixels", 0, "--quiet"],
                resumes="first/recipe.json",
            ),
        }  # fmt: skip

    def _names(self) -> list[str]:
        lines = (self.data / "classes.txt").read_text(encoding="utf-8").split("\n")
        return [line.partition("\t")[0] for line in lines if line]

    def _words(self) -> str:
        return ", ".join(self._names()[:4])

    def _image(self) -> Path:
        return min((self.data / "images").iterdir())

    def _segment(self, out: Path) -> list[object]:
        return ["segment", self.data / "images", "--words", self._words(), "--model", self.clip, "--out", out]

    def _build(self, bank: Path, *cutouts: str) -> list[object]:
        source = ["--source", "cutouts", "--from", self.folder / "cutouts", "--words", ", ".join(cutouts)]
        return ["references", "build", *source, "--encoder", self.clip, "--out", bank]

    def _train(self, out: Path) -> list[object]:
        return ["train", "simseg/tiny", "--run.num-steps", 6, "--run.save-every", 2, "--quiet", "--out", out]

    def _distil(self, out: Path) -> list[object]:
        small = ["--student", "tiny", "--num-steps", 2, "--batch-size", 2, "--size", 64, "--labels", "seen"]
        data = ["--teacher", self.clip, "--data", self.folder / "photos", "--device", "cpu", "--quiet"]
        return ["distil", *data, "--out", out, *small]

    def _stage(self, action: str) -> Path:
        return self.folder / "curation" / action

    def _curate(self, out: Path, action: str) -> list[object]:
        begins = action in ("all", "embed")
        source = [self.data, "--out", out, "--encoder", self.clip, "--shard-records", 2] if begins else [out]
        search = ["--neighbours", 3] if action in ("all", "search") else []
        rank = ["--vocabulary", self.words] if action in ("all", "rank") else []
        return ["curate", action, *source, *search, *rank]

    def _after(self, before: str, action: str) -> Case:
        """Return a stage of a curation, over those before it."""
        return Case(
            arguments=lambda out: self._curate(out, action),
            prepare=lambda out: _copy(self._stage(before), out),
        )


def _copy(source: Path, out: Path) -> None:
    if source.is_dir():  # what made it may have failed; then what needs it fails too, and is told
        shutil.copytree(source, out)


def _stem(data: Path) -> str:
    return min(path.stem for path in (data / "images").iterdir())


def _write_foreign(folder: Path) -> None:
    """Write what Lexiseg does not write itself: cut-outs, photographs, a published data set, checkpoints."""
    import numpy as np
    import torch
    from PIL import Image

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/fixtures"))
    import dataset_trees
    from tiny_checkpoints import save_tiny_clip
    from written_rasters import COLOURS, truth, write_raster
    from written_videos import picture, write_video

    random = np.random.default_rng(0)
    torch.manual_seed(0)
    for name in ("cutouts", "photos/images", "photos/labels", "by-class/cat", "by-class/dog", "pickled"):
        (folder / name).mkdir(parents=True)
    for word in ("leaf", "stone", "shell"):
        image = random.integers(0, 255, (64, 64, 4), np.uint8)
        image[..., 3] = 0
        image[12:52, 12:52, 3] = 255
        Image.fromarray(image).save(folder / f"cutouts/{word}.png")
    for number in range(14):
        image = Image.fromarray(random.integers(0, 256, (40, 56, 3), np.uint8))
        image.save(folder / f"photos/images/{number}.png")
        if number < 4:
            image.save(folder / f"by-class/{('cat', 'dog')[number % 2]}/{number}.png")
        labels = random.integers(0, 3 if number in (2, 3) else 2, (40, 56), np.uint8)
        Image.fromarray(labels).save(folder / f"photos/labels/{number}.png")
    for name, text in (("classes.txt", "cat\nsky\ndog\n"), ("seen.txt", "cat\nsky\n"), ("val.txt", "2\n3\n")):
        (folder / "photos" / name).write_text(text)
    shutil.copytree(folder / "photos", folder / "part")
    (folder / "part/labels/0.png").unlink()
    with contextlib.redirect_stdout(io.StringIO()):
        save_tiny_clip(folder / "clip")
    tensors = {f"layer.{number}": torch.randn(64, 64) for number in range(20)}
    torch.save(tensors, folder / "pickled/pytorch_model.bin")
    (folder / "pickled/config.json").write_text(json.dumps({"model_type": "clip"}))
    dataset_trees.voc(folder / "voc", background=False)
    write_raster(folder / "scene.tif", COLOURS[truth(150, 190)], tiled=True, blockxsize=16, blockysize=16)
    write_video(folder / "moving.mp4", [picture(4 * step) for step in range(6)])
