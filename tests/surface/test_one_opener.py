"""What reads what others wrote stands in one place each: a new sibling elsewhere is found here."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/lexiseg"

#: Call to the files that may make it. Everything else goes through what these files give.
ALLOWED = {
    "Image.open": {"core/image_decoders.py"},
    "json.load": set(),
    "json.loads": {"core/json_text.py", "data/published/matlab_worker.py"},
    "loadmat": {"data/published/matlab_worker.py"},
    "whosmat": {"data/published/matlab_worker.py"},
    "h5py.File": {"data/published/matlab_worker.py"},
    "av.open": {"data/videos.py"},
    "rasterio.open": {"data/rasters.py", "data/raster_files.py"},  # the second reads and writes what is ours
    "tarfile.open": {"data/captions/tar_index.py"},
    "zipfile.ZipFile": {"models/dinov2_small.py", "app/studio.py"},  # a wheel whose hash is known; downloads, written only
    "Console": set(),
    "Tokenizer.from_file": {"models/text_tokens.py", "models/minilm.py"},
    "import_module": {
        "__init__.py", "cli/__init__.py", "recipes/base.py", "runs/studies/__init__.py", "models/checkpoint.py",
        "runs/own_model.py",  # named by whoever calls
    },
    "subprocess.run": {"core/fonts.py", "models/convert.py", "models/dinov2_small.py"},
    "subprocess.Popen": {"data/published/matlab_files.py"},
    "torch.load": {"models/convert_worker.py", "models/efficientnet_lite.py"},  # weights_only, see below
    "gzip.decompress": {"data/curation/concept_vocabulary.py"},  # a file of ours in the package
}  # fmt: skip
#: Calls that run what a file says.
NEVER = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "joblib.load",
    "dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "numpy.load", "np.loadtxt", "np.genfromtxt",
    "yaml.load", "yaml.unsafe_load", "eval", "exec", "__import__", "os.system", "os.popen", "os.execv", "subprocess.call",
    "subprocess.check_output", "subprocess.getoutput", "tarfile.extractall", "shutil.unpack_archive", "pd.read_pickle",
    "torch.jit.load", "torch.hub.load", "escape_markup", "Text.from_markup", "ElementTree.parse",
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


@cache
def calls() -> tuple[tuple[str, str, ast.Call], ...]:
    """Return the file, name and node of the calls of every file that holds a name of the lists."""
    wanted = re.compile("|".join(rf"\b{re.escape(name)}\(" for name in [*ALLOWED, *NEVER, "np.load"]))
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if wanted.search(text) else ():
            if isinstance(node, ast.Call):
                found += [(file.relative_to(SOURCE).as_posix(), name_of(node.func), node)]
    return tuple(found)


@pytest.mark.parametrize("call", sorted(ALLOWED))
def test_a_reader_of_foreign_files_is_called_in_its_one_place(call):
    there = {file for file, name, _ in calls() if name == call}
    assert there <= ALLOWED[call], f"{call} in {sorted(there - ALLOWED[call])}"
    assert there or not ALLOWED[call], f"{call} is called nowhere: shorten the list"


def test_nothing_runs_what_a_file_says():
    assert [(file, name) for file, name, _ in calls() if name in NEVER] == []


def test_arrays_and_weights_are_read_without_pickle():
    options = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}
    seen = set()
    for file, name, node in calls():
        if name in options:
            seen.add(name)
            option, value = options[name]
            given = {
                word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)
            }
            assert given.get(option) is value, f"{file}: {name} without {option}={value}"
    assert seen == set(options)


def test_no_program_is_started_through_a_shell():
    started = [node for _, name, node in calls() if name.startswith("subprocess.")]
    assert started
    assert not [node for node in started if any(word.arg == "shell" for word in node.keywords)]


def test_texts_of_others_are_never_markup():
    for file in sorted(SOURCE.rglob("*.py")):
        assert "rich.markup" not in file.read_text(encoding="utf-8"), file


def test_pages_escape_what_they_show():
    """Every file that writes HTML escapes the texts it gets: its names are no tags."""
    writers = [file for file in SOURCE.rglob("*.py") if "<!doctype html>" in file.read_text(encoding="utf-8")]
    assert writers
    for file in writers:
        assert "from html import escape" in file.read_text(encoding="utf-8"), file
