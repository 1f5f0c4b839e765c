"""Dense image encoders as ONNX graphs, run by other engines. OpenVINO is tested where it is installed."""

import importlib.util

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from lexiseg.cli.export_model import ExportModel
from lexiseg.core.errors import CheckpointError, InputError, MissingPackageError
from lexiseg.models import graph_encoder
from lexiseg.models.clip import load_clip
from lexiseg.models.graph_encoder import GraphEncoder
from lexiseg.models.graph_export import export_graph
from lexiseg.models.siglip import HEADS as SIGLIP_HEADS
from lexiseg.models.siglip import load_siglip
from lexiseg.ops.dense_heads import HEADS, graph_facts
from lexiseg.recipes.dense_similarity import DenseSettings, build_dense_similarity
from lexiseg.runs.load import load
from tiny_checkpoints import save_tiny_clip, save_tiny_clipseg, save_tiny_siglip

ENGINES = ("onnxruntime", "openvino", "openvino-bf16")
#: Of tokens and scores, which are cosines.
TOLERANCE = {"onnxruntime": 1e-5, "openvino": 1e-5, "openvino-bf16": 2e-2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("graphs")
    return {"clip": save_tiny_clip(home / "clip"), "siglip": save_tiny_siglip(home / "siglip")}


@pytest.fixture
def with_export():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


@pytest.fixture
def installed(engine):
    pytest.importorskip(engine.partition("-")[0])


def is_installed(engine):
    return importlib.util.find_spec(engine.partition("-")[0]) is not None


def encoder_of(folders, kind, head):
    if kind == "clip":
        encoder, _ = load_clip(folders["clip"])
        encoder.head = head
        return encoder
    return load_siglip(folders["siglip"], head=head)[0]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("kind", "head"), [*(("clip", head) for head in HEADS), *(("siglip", head) for head in SIGLIP_HEADS)]
)
@pytest.mark.usefixtures("with_export")
def test_a_graph_says_what_the_network_says_at_any_size(folders, tmp_path, kind, head):
    encoder = encoder_of(folders, kind, head)
    export_graph(encoder, tmp_path / "a.onnx", record={"weights": "w", **graph_facts(head)})
    for engine in filter(is_installed, ENGINES):
        graph = GraphEncoder(tmp_path / "a.onnx", engine)
        assert (graph.stride, graph.fingerprint) == (encoder.stride, "w")
        for shape in ((1, 3, 32, 32), (3, 3, 40, 72), (1, 3, 64, 24)):
            images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            if shape[2] * shape[3] // 64 <= 30 and head == "scclip":
                with pytest.raises(InputError, match="31 or more"):
                    graph(images)
                continue
            with torch.inference_mode():
                expected, found = encoder(images), graph(images)
            assert found.grid == expected.grid
            torch.testing.assert_close(
                found.tokens, normalize(expected.tokens, dim=-1), atol=TOLERANCE[engine], rtol=1e-4
            )
            torch.testing.assert_close(
                found.global_token, expected.global_token, atol=10 * TOLERANCE[engine], rtol=1e-3
            )


@pytest.mark.exhaustive
@pytest.mark.usefixtures("with_export")
def test_class_embeddings_are_an_input_of_the_graph(folders, tmp_path):
    import onnxruntime

    encoder = encoder_of(folders, "clip", "naclip")
    export_graph(encoder, tmp_path / "a.onnx", record={})
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    images = torch.rand(2, 3, 40, 48)
    with torch.inference_mode():
        tokens = normalize(encoder(images).tokens, dim=-1)
    for names in (1, 7):
        words = normalize(torch.randn(names, tokens.shape[2]), dim=1)
        (scores,) = session.run(["scores"], {"images": images.numpy(), "embeddings": words.numpy()})
        assert scores.shape == (2, names, 5, 6)
        np.testing.assert_allclose(scores.reshape(2, names, -1), (words @ tokens.mT).numpy(), atol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("with_export", "installed")
def test_a_model_with_another_engine_gives_the_same_labels_and_says_so(
    folders, tmp_path, monkeypatch, engine
):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path))
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), dtype=np.uint8)
    words = ["cat", "dog", "sky", "grass"]
    how = {"prompts": "bare", "refine": "none"}
    own = load(folders["clip"], device="cpu").segment(image, words, **how)
    for _ in range(2):  # the second takes the graph that the first wrote
        model = load(folders["clip"], device="cpu", method_settings={"engine": engine})
        found = model.segment(image, words, **how)
        assert (found.label_map == own.label_map).mean() >= (0.999 if TOLERANCE[engine] < 1e-3 else 0.9)
        np.testing.assert_allclose(found.score_map, own.score_map, atol=TOLERANCE[engine])
        assert found.settings["method"] == {**own.settings["method"], "engine": engine}
    assert len(list((tmp_path / "graphs").iterdir())) == 1
    with pytest.raises(InputError, match="found another dtype"):
        load(folders["clip"], device="cpu", method_settings={"engine": engine}, dtype="bfloat16").encode(
            image
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("with_export", "installed")
def test_a_file_that_is_no_graph_of_ours_is_refused(tmp_path, engine):
    with pytest.raises(CheckpointError, match="no such file"):
        GraphEncoder(tmp_path / "none.onnx", engine)
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read"):
        GraphEncoder(tmp_path / "a.onnx", engine)


def test_a_missing_engine_names_the_extra(folders, monkeypatch, tmp_path):
    monkeypatch.setattr(graph_encoder.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path))
    for engine in ENGINES:
        with pytest.raises(MissingPackageError, match=r"lexiseg\[export\]"):
            build_dense_similarity(str(folders["clip"]), DenseSettings(engine=engine))
        with pytest.raises(MissingPackageError, match=r"lexiseg\[export\]"):
            GraphEncoder(tmp_path / "a.onnx", engine)


@pytest.mark.parametrize("head", ["proxyclip", "trident", "corrclip"])
def test_heads_with_a_second_network_have_no_other_engine(folders, head):
    with pytest.raises(InputError, match="listens to a second network"):
        build_dense_similarity(str(folders["clip"]), DenseSettings(head=head, engine="openvino"))


@pytest.mark.exhaustive
@pytest.mark.usefixtures("with_export")
def test_the_command_writes_a_graph_that_says_what_it_is(folders, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    assert ExportModel(model=str(folders["clip"]), out=out, set_=("head=clearclip",)).run() == 0
    assert "multiples of 8" in capsys.readouterr().out
    graph = GraphEncoder(out, "onnxruntime")
    assert (graph.record["head"], graph.record["prompts"]) == ("clearclip", "imagenet80")


def test_the_command_refuses_what_is_no_graph(folders, tmp_path):
    for model, name, found in (
        (str(folders["clip"]), "model.xml", "ends in .onnx"),
        (str(save_tiny_clipseg(tmp_path / "clipseg")), "model.onnx", "a head of its own"),
    ):
        with pytest.raises(InputError, match=found):
            ExportModel(model=model, out=tmp_path / name).run()
