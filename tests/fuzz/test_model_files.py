"""Files of models, jobs and rasters that were damaged: what was written, something made again, or an error of ours."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lexiseg.cli.arguments import prepare
from lexiseg.core.errors import DatasetError
from lexiseg.data.trained_on import TrainedOn
from lexiseg.inference.none_of_these import AbsentScores
from lexiseg.models.onnx_tensors import read_onnx_tensors
from lexiseg.runs import calibration
from lexiseg.runs.bulk.job import Outcome
from lexiseg.runs.bulk.states import STATES_FILE, _compact, noting, read_states
from lexiseg.runs.head_folder import HEAD, WEIGHT
from lexiseg.runs.licences import list_parts
from lexiseg.runs.load import load
from lexiseg.runs.pack import pack
from mutations import fuzz, mutated_json
from small_models import fitted, trained
from tiny_onnx import model as onnx_bytes

pytestmark = pytest.mark.usefixtures("without_type_checker")

GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))


# Models


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("head"))


def opened(folder: Path) -> None:
    """Load a model, segment an image with it, and list what it is made of."""
    load(folder, device="cpu").segment(GREY)
    list_parts(str(folder))


def test_heads(head):
    path = head / HEAD
    seed = json.loads(path.read_text())

    def read(content: Any) -> None:
        path.write_text(json.dumps(content))
        opened(head)

    try:
        assert fuzz("head", [seed], read, examples=15, mutate=mutated_json) > 1
    finally:
        path.write_text(json.dumps(seed))


def test_weights_of_heads(head):
    path = head / WEIGHT
    whole = path.read_bytes()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        opened(head)

    try:
        assert fuzz("head-weights", [whole], read, examples=15) > 1
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", ["head", "run"])
def test_packed_folders(head, tmp_path, kind):
    out = tmp_path / "packed"
    pack(str(head if kind == "head" else trained(tmp_path)), out)
    path = out / "config.json"

    def read(content: Any) -> None:
        path.write_text(json.dumps(content))
        load(out, device="cpu")
        list_parts(str(out))

    assert fuzz("packed", [json.loads(path.read_text())], read, examples=12, mutate=mutated_json) > 1


def graph_bytes(record: dict[str, str]) -> bytes:
    """Make a graph with baked names: the mean colour of each patch of 8 pixels."""
    onnx = pytest.importorskip("onnx")
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    pool = onnx.helper.make_node("AveragePool", ["images"], ["scores"], kernel_shape=[8, 8], strides=[8, 8])
    graph = onnx.helper.make_graph(
        [pool], "g", [value("images", kind, ["b", 3, "h", "w"])], [value("scores", kind, ["b", 3, "i", "j"])]
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    onnx.helper.set_model_props(made, record)
    return made.SerializeToString()


RECORD = {
    "settings": {"short_side": 64, "max_long_side": 64},
    "method": {"name": "x"},
    "parts": [{"name": "x", "licence": "mit", "source": "here", "trained_on": "nothing"}],
    "changes": {},
    "names": ["red", "green", "blue"],
    "classes": {"names": ["red", "green", "blue"], "synonyms": [[], [], []], "background": None},
}
TEXTS = {"lexiseg": "1", "stride": "8", "width": "3", "weights": "w", "model": "m", "prompts": "bare"}


def test_graphs(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "a.onnx"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        opened(path)

    seed = graph_bytes({**TEXTS, "segmenter": json.dumps(RECORD)})
    read(seed)
    assert fuzz("graph", [seed], read, examples=30) > 5


@pytest.mark.parametrize("part", ["texts", "record"])
def test_records_of_graphs(tmp_path, part):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "a.onnx"

    def read(content: Any) -> None:
        texts, record = (content, RECORD) if part == "texts" else (TEXTS, content)
        if not isinstance(texts, dict):
            texts = {"lexiseg": texts}
        plain = {name: str(value).encode("utf-8", "replace").decode() for name, value in texts.items()}
        path.write_bytes(graph_bytes({**plain, "segmenter": json.dumps(record)}))
        opened(path)

    seed = {"texts": TEXTS, "record": RECORD}[part]
    assert fuzz(f"graph-{part}", [seed], read, examples=30, mutate=mutated_json) > 5


def test_tensors_of_graphs(tmp_path):
    path = tmp_path / "a.onnx"
    seed = onnx_bytes({"w": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float32)}, {"first": ("x", "w")})

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = read_onnx_tensors(path)
        assert sum(array.nbytes for array in found.tensors.values()) <= len(content)

    assert fuzz("onnx-tensors", [seed], read, examples=150) > 30


# What is measured, and of what


def test_scores_of_absent_words(tmp_path):
    path = tmp_path / "absent.json"
    levels = tuple(float(level) for level in np.linspace(0, 1, 104))
    whole = AbsentScores(image=levels, pixels=levels, num_images=3, made_with={"a": 1})
    whole.save(path)

    def read(content: Any) -> None:
        path.write_text(json.dumps(content))
        found = AbsentScores.load(path)
        if found is None:
            return
        scores = np.linspace(-1, 2, 6, dtype=np.float32).reshape(2, 3)
        chances = [found.image_chance(scores, 3), *found.pixel_chances(scores, 3).ravel()]
        assert all(0 <= chance <= 1 for chance in chances), "a chance that is none"
        assert np.isfinite(found.doubtful_score(3))
        assert asdict(found)

    assert fuzz("absent", [json.loads(path.read_text())], read, examples=100, mutate=mutated_json) == 0


def test_timings_that_were_kept(tmp_path):
    path = tmp_path / "timings.json"
    whole = calibration.Calibration(encode=1.0, patches=9, row=1e-6, solve=0.1, memory=10**6, features=4)

    def read(content: Any) -> None:
        path.write_text(json.dumps(content))
        found = calibration._read(path)
        if found is not None:
            assert found.fit_seconds(3, 1, 2) >= 0
            assert found.fit_memory(3) >= 0

    assert fuzz("timings", [asdict(whole)], read, examples=100, mutate=mutated_json) == 0


def test_lists_of_what_was_trained_on(tmp_path):
    path, image = tmp_path / "trained_on.tsv", tmp_path / "a.png"
    image.write_bytes(b"x")

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = TrainedOn.read(path)
        assert found is not None
        found.among([image, None])
        found.alike_by_name([image])

    assert fuzz("trained-on", [b"# content\tfile\n0123456789abcdef\ta/b.jpg\n"], read, examples=80) == 0


# Jobs


def test_states_of_jobs(tmp_path):
    with noting(tmp_path, command="segment", total=3, workers=2) as log:
        for number, state in enumerate(("done", "failed", "there")):
            log.note(Outcome(number=number, state=state, message="why"), f"n{number}", f"n{number}.jpg")
    path = tmp_path / STATES_FILE

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = read_states(tmp_path)
        assert found.left >= 0
        assert found.done <= content.count(b"\n")
        _compact(path)
        assert len(read_states(tmp_path).failures) == len(found.failures)

    assert fuzz("states", [path.read_bytes()], read, examples=150) == 0


def test_heads_of_states_of_jobs(tmp_path):
    seed = {"begun": 1.5, "command": "segment", "total": 3, "workers": 2, "retries": False}

    def read(content: Any) -> None:
        (tmp_path / STATES_FILE).write_text(f'# {json.dumps(content)}\nd\t"a"\n')
        found = read_states(tmp_path)
        assert found.left >= 0
        assert found.a_second is None or found.a_second > 0

    assert fuzz("states-head", [seed], read, examples=100, mutate=mutated_json) == 0


def test_options_of_a_file(tmp_path):
    path = tmp_path / "options.toml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        made = prepare("segment", ["photo.jpg", "--config", str(path)])
        assert all(isinstance(each, str) for each in made)

    seed = b'model = "mini"\nwords = ["cat", "dog"]\n[segment]\nshort-side = 336\noverwrite = true\n'
    assert fuzz("options", [seed], read, examples=100) > 10


# Rasters and videos


def test_rasters(tmp_path):
    pytest.importorskip("rasterio")
    from lexiseg.data.rasters import open_raster
    from written_rasters import COLOURS, truth, write_raster

    how = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    seeds = [
        write_raster(tmp_path / "a.tif", COLOURS[truth(40, 30)], **how).read_bytes(),
        write_raster(tmp_path / "b.tif", COLOURS[truth(20, 20)], compress="deflate", nodata=0).read_bytes(),
    ]
    path = tmp_path / "c.tif"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with open_raster(path) as raster:
            height, width = (min(side, 200) for side in raster.size)
            rgb, has_data = raster.read((-8, height), (0, width + 8))
            assert rgb.shape[:2] == has_data.shape

    assert fuzz("raster", seeds, read, examples=60) > 5


def test_rows_of_rasters_that_are_kept(tmp_path):
    pytest.importorskip("rasterio")
    from lexiseg.data.raster_files import read_strip, write_strip

    labels = np.random.default_rng(0).integers(0, 9, (12, 30)).astype(np.uint16)
    path = tmp_path / "0.png"
    write_strip(path, labels)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = read_strip(path, labels.shape)
        assert found is None or np.array_equal(found, labels), "other labels than were kept"

    assert fuzz("strip", [path.read_bytes()], read, examples=150) == 0


def test_facts_of_rasters(tmp_path):
    pytest.importorskip("rasterio")
    from lexiseg.inference.segment_raster import RasterRequest, raster_is_done, segment_raster
    from toy_segmenter import ColourSegmenter
    from written_rasters import COLOURS, WORDS, truth, write_raster

    path = write_raster(tmp_path / "a.tif", COLOURS[truth(20, 20)])
    request = RasterRequest.build(ColourSegmenter(), WORDS, polygons="none")
    facts = segment_raster(path, request, tmp_path / "out")
    assert raster_is_done(path, tmp_path / "out", "a", request) is not None

    def read(content: Any) -> None:
        (tmp_path / "out/a.json").write_text(json.dumps(content))
        raster_is_done(path, tmp_path / "out", "a", request)

    assert fuzz("raster-facts", [json.loads(json.dumps(facts))], read, examples=60, mutate=mutated_json) == 0


def test_videos(tmp_path):
    pytest.importorskip("av")
    from lexiseg.data.videos import read_video
    from written_videos import picture, write_video

    seeds = [
        write_video(tmp_path / f"a.{ending}", [picture(4 * step) for step in range(3)]).read_bytes()
        for ending in ("mp4", "mkv")
    ]
    path = tmp_path / "b.mp4"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        for count, frame in enumerate(read_video(path)):
            assert frame.image.dtype == np.uint8
            if count > 20:
                raise DatasetError(doing="reading", found="many frames", expected="three", fix="None.")

    assert fuzz("video", seeds, read, examples=40) > 1
