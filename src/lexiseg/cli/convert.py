"""``lexiseg convert``: pickled weights to safetensors, once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Convert pickled weights to safetensors, once, where you trust their source.

    A pickle can run code when it is opened. It is opened with weights_only in a process of its own; what it writes is
    compared with what it read, and recorded with hashes in converted.json. No other command opens a pickle.
    """

    checkpoint: Annotated[str, tyro.conf.Positional]
    """A folder with pytorch_model.bin (safetensors are written beside it), or a hub id (kept in the cache folder)."""

    def run(self) -> int:
        """Convert, print what was written, and return the exit code."""
        from lexiseg.models.convert import convert_folder, convert_from_hub

        folder = Path(self.checkpoint).expanduser()
        done = convert_folder(folder) if folder.is_dir() else convert_from_hub(self.checkpoint)
        for file in done.written:
            print(
                f"{done.folder / file.name}  {file.tensors} tensors  {file.bytes:,} bytes  sha256 {file.sha256}"
            )
        print(f"recorded in {done.folder / 'converted.json'}")
        return 0
