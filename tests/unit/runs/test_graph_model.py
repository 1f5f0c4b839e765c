"""A model as a graph file gives the labels of the model, and a program without torch runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli.export_model import ExportModel
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.runs.graph_model import share_of_equal_labels
from lexiseg.runs.licences import list_parts
from lexiseg.runs.load import load
from small_models import fitted, trained
from tiny_checkpoints import save_tiny_clip, save_tiny_siglip
from tiny_maskformers import save_tiny_pixel_classifier

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

WORDS = Vocabulary.parse("cat, sky (clouds), grass")
RUNNER = Path(__file__).parents[3] / "examples/run_graph.py"
#: How a model is made, and the words it is asked with; None for a fixed list of classes.
KINDS = {
    "clip": (save_tiny_clip, WORDS),
    "siglip": (save_tiny_siglip, WORDS),
    "segformer": (lambda folder: save_tiny_pixel_classifier(folder / "segformer", "segformer"), None),
    "run": (trained, Vocabulary.parse("circle, square, star")),
    "head": (fitted, None),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, size in enumerate([(96, 64), (71, 113)]):
        pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((size[1] * 2, size[0] * 2)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = KINDS[kind][0](tmp_path_factory.mktemp(kind))
        return made[kind]

    return make


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))


def export(model, out, **options):
    assert ExportModel(model=str(model), out=out, **options).run() == 0
    return out


def equal(model, graph, images, words):
    own, other = (load(each, device="cpu") for each in (model, graph))
    return share_of_equal_labels(own, other, images, words)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "head" else pytest.mark.exhaustive) for kind in KINDS]
)
def test_a_graph_gives_the_labels_of_the_model(models, images, tmp_path, kind):
    model, words = models(kind), KINDS[kind][1]
    graph = export(model, tmp_path / "a.onnx")
    assert equal(model, graph, images, words) >= 0.999
    result = load(graph).segment(images[0], words)
    own = load(model, device="cpu")
    assert result.settings["method"]["engine"] == "onnxruntime"
    assert result.settings["short_side"] == own.settings.short_side
    assert list_parts(str(graph)) == list_parts(str(model))


@pytest.mark.exhaustive
def test_names_can_be_a_part_of_the_graph(models, images, tmp_path):
    model = models("clip")
    graph = export(model, tmp_path / "a.onnx", names="cat, sky (clouds), grass")
    assert equal(model, graph, images, WORDS) >= 0.999
    loaded = load(graph)
    own = loaded.segment(images[0])
    assert own.vocabulary.names == WORDS.names
    with pytest.raises(Exception, match="zebra"):
        loaded.segment(images[0], "zebra, cat")


@pytest.mark.exhaustive
def test_eight_bits_are_smaller_and_say_how_many_labels_stay(models, images, tmp_path, capsys):
    model = models("segformer")
    plain = export(model, tmp_path / "a.onnx")
    small = export(model, tmp_path / "b.onnx", int8=images[0].parent)
    assert "% of the pixels of 2 images have the label of float32" in capsys.readouterr().out
    assert small.stat().st_size != plain.stat().st_size
    result = load(small).segment(images[0])
    assert result.settings["method"]["int8"] is True
    assert equal(model, small, images, None) > 0.5


@pytest.mark.exhaustive
def test_openvino_runs_its_own_form(models, images, tmp_path):
    pytest.importorskip("openvino")
    graph = export(models("clip"), tmp_path / "a.xml", to="openvino", names="cat, sky (clouds), grass")
    assert graph.with_suffix(".bin").is_file()
    assert equal(models("clip"), graph, images, WORDS) >= 0.999


def run_without_torch(arguments, folder):
    """Run the script where importing torch, transformers or Lexiseg fails."""
    (folder / "sitecustomize.py").write_text(
        "import sys\nfor name in ('torch', 'transformers', 'lexiseg'):\n    sys.modules[name] = None\n"
    )
    command = [sys.executable, str(RUNNER), *map(str, arguments)]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["baked", "words"])
def test_a_program_without_torch_gives_the_labels_of_the_whole_image(models, images, tmp_path, form):
    model, graph = models("clip"), tmp_path / "a.onnx"
    how = {"embeddings": tmp_path / "w.npz"} if form == "words" else {}
    export(model, graph, names="cat, sky (clouds), grass", set_=("head=value",), **how)
    more = ["--words", tmp_path / "w.npz"] if form == "words" else []
    said = run_without_torch([graph, *images, "--out", tmp_path / "out", *more], tmp_path)
    assert len(said.splitlines()) == len(images)
    whole = {"window": None, "tiles": "off", "refine": "none"}
    own = load(model, device="cpu", method_settings={"head": "value"})
    for image in images:
        found = np.asarray(Image.open(tmp_path / "out" / f"{image.stem}.png"))
        expected = own.segment(image, WORDS, **whole).label_map
        assert (found == expected).mean() > 0.98, "another resize, by whole numbers"


def test_what_cannot_be_a_graph_or_is_none_is_refused(models, tmp_path):
    with pytest.raises(InputError, match="more than tokens and class embeddings"):
        export("mini", tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"ends in \.xml"):
        export(models("clip"), tmp_path / "a.onnx", to="openvino")
    with pytest.raises(InputError, match="--embeddings without --names"):
        export(models("clip"), tmp_path / "a.onnx", embeddings=tmp_path / "w.npz")
    (tmp_path / "b.onnx").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read"):
        load(tmp_path / "b.onnx")


@pytest.mark.exhaustive
def test_words_of_other_weights_are_refused(models, images, tmp_path):
    import onnx

    graph = export(models("clip"), tmp_path / "a.onnx")
    model = onnx.load(graph)
    for entry in model.metadata_props:
        if entry.key == "weights":
            entry.value = "other"
    onnx.save(model, graph)
    with pytest.raises(CheckpointError, match="other weights than the graph's"):
        load(graph).segment(images[0], "cat, dog")
    for entry in model.metadata_props:
        if entry.key == "segmenter":
            entry.value = json.dumps({"settings": {}})
    onnx.save(model, graph)
    with pytest.raises(CheckpointError, match="no record of the model"):
        load(graph)
