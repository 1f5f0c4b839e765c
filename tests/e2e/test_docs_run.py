"""Every command that README and docs print runs as printed, on a small folder; those that cannot run here say why."""

import re
import shlex
import shutil

import pytest
from PIL import Image

from lexiseg.cli import main
from printed_commands import PAGES, commands
from sky_and_grass import write_folder
from written_videos import picture, write_video

#: Commands of which only the options are checked (tests/surface/test_docs_commands.py), and why. All others are run.
NOT_RUN = {
    r"openai/|nvidia/|facebook/|CLIP\b|MODEL\b|SD_FOLDER|\./(my-|mask)|convert ": "weights of the hub or of a person's own",
    r"^lexiseg video 0": "a camera; tests/e2e/test_video_command.py has one that is drawn",
    r"--get dinov2-small|dinov2": "weights that pip fetches, or their encoder",
    r"samples/": "folders that scripts/make_sample_folders.py makes; the same commands are run on mydata",
    r"instances_val\.json": "annotations of another tool; tests/unit/data/formats reads each format",
    r"train (simseg/scenes|simseg/finetune|simformer/|clip-to-seg/|cocu/|groupvit/)|distil ": "trains for minutes to days",
    r"voc|cityscapes": "a published data set",
    r"cc3m|shards|my_captions|retrieve|classify|curate": "a collection of captions; tests/e2e/test_curate_command.py has one",
    r"my\.bank|a\.bank|references (build|merge|cost|show)|similarity": "a bank; tests/e2e/test_rim_commands.py builds one",
    r"^lexiseg models mini$|--set|emoji|cutouts|FOLDER|IMAGE": "names of a person's own, or a setting that other tests change",
    r"model\.onnx|pack run|my-model": "a graph or a folder that a line above it writes, out of weights of a person's own",
    r"--model run|train-store|evaluate run|simseg/tiny --out run --resume": "a run that a line above it trains",
    r"serve": "runs until it is stopped; tests/e2e/test_serve_command.py starts one",
    r"--window 448|--tiles off|--unknown|--none-of-these off|lexiseg doctor": "what a line beside it does, with an option more",
}

_PAGES = [page for page in PAGES if page.name != "commands.md"]


def lines() -> list[str]:
    """List the commands of all pages, each once, without what a comment says and without pipes."""
    found = [" ".join(line.split(" #")[0].split()) for page in _PAGES for line in commands(page)]
    return list(dict.fromkeys(line for line in found if line != "lexiseg"))


def reason(line: str) -> str | None:
    """Return why a command is not run; None for one that is."""
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with what pages speak of: mydata, photos, an image, a model of one's own."""
    root = tmp_path_factory.mktemp("pages")
    write_folder(root / "mydata", num=14, num_masks=14, num_val=2)
    write_folder(root / "unfinished/mydata", num=16, num_masks=12, captions=True, tags=True)
    write_folder(root / "captioned/mydata", num=2, captions=True)
    write_folder(root / "colours/mydata", num=4, num_masks=4)
    (root / "colours/mydata/classes.txt").write_text("red\ngreen\nblue\n")
    (root / "empty").mkdir()
    (root / "photos").mkdir()
    for name in ("photos/a.jpg", "photo.jpg", "image.png", "aerial.tif", "scene.tif"):
        with Image.open(root / "mydata/images/01.png") as image:
            image.convert("RGB").save(root / name)
    shutil.copy(root / "mydata/classes.txt", root / "classes.txt")
    write_video(root / "clip.mp4", [picture(4 * step) for step in range(3)])
    (root / "mymodel.py").write_text(own_model())
    return root


def own_model() -> str:
    """Return the model that the page of one's own models prints."""
    page = next(page for page in _PAGES if page.name == "your-model.md")
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[:1])


#: Where a line is typed, if it is not where the others are: what its page speaks of is there.
_WHERE = {
    "lexiseg next mydata": "unfinished",
    "lexiseg fit mydata": "unfinished",
    "lexiseg captions check mydata": "captioned",
    "lexiseg evaluate mymodel:build": "colours",
    "lexiseg scenes make": "empty",
}

#: What commands that read results are given, and what makes it.
_RESULTS = {
    "store": "predict mini --data mydata",
    "bulk": "segment photos --words sky,grass",
    "parts": "segment photos --words sky,grass --results parquet-png",
    "result": "segment photos --words sky,grass",
    "other-model": "segment photos --words sky,grass --refine none",
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("line", [line for line in lines() if reason(line) is None])
def test_a_command_runs_as_printed(line, place, monkeypatch, capsys):
    where = next((folder for start, folder in _WHERE.items() if line.startswith(start)), ".")
    monkeypatch.chdir(place / where)
    monkeypatch.syspath_prepend(str(place))
    words = shlex.split(line)[1:]
    for name in ("segmented", "head", "masks.json"):  # the results of another line
        shutil.rmtree(place / where / name, ignore_errors=True)
        (place / where / name).unlink(missing_ok=True)
    for name, command in _RESULTS.items():
        reads = words[0] in ("score", "export", "sheet", "jobs") or "--retry-failed" in words
        if reads and name in words and not (place / name).exists():
            with pytest.raises(SystemExit):
                main([*command.split(), "--out", name])
    try:
        main(words)
    except SystemExit as stopped:
        code = stopped.code
    else:
        code = 0
    assert not code, capsys.readouterr().err
    assert "Traceback" not in capsys.readouterr().err


def test_reasons_are_of_commands_that_there_are():
    unused = [pattern for pattern in NOT_RUN if not any(re.search(pattern, line) for line in lines())]
    assert not unused, unused


def test_most_pages_have_a_command_that_is_run():
    run = [line for line in lines() if reason(line) is None]
    assert len(run) > 20, run
