"""Features of a frozen image encoder, kept on disk: an image is encoded once, whatever is trained on top.

An image's features lie under a hash of the encoder's fingerprint and of the image's own numbers, as the encoder gets
them. So whatever changes the image (another size, a flip, a crop) has features of its own, and a wrong
answer is not possible; what decides the use is how often the very same image comes again. A training that only flips
has two variants of every image, one that cuts from a lattice (``data.augmentation.lattice_crop``) a few, one
that cuts anywhere has no use for this.

Numbers are kept in half precision, and the first time rounded too: the tenth epoch sees what the first saw.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.cache_folder import default_cache, make_private
from lexiseg.core.errors import CheckpointError, OutputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.tensor_digest import tensor_digest

#: Of one encoder's folder: some 20,000 images of 448×448 for a ViT-S/14.
MAX_BYTES = 16 * 2**30


class CachedEncoder(ImageEncoder):
    """An image encoder that is frozen and remembers. Goes wherever an ``ImageEncoder`` goes.

    Images are encoded one at a time, so that what is kept does not depend on what an image came together with.
    Several processes may use one folder. An interrupted run keeps all that it finished.

    Args:
        encoder: Is set to evaluation mode and needs no gradient from now on.
        fingerprint: Content hash of its weights and settings, such as ``models.checkpoint.fingerprint`` gives.
        folder: Where features are kept; ``"default"`` for a folder in ``default_cache()``.
        max_bytes: Once the encoder's folder holds so much, further features are computed and not kept.

    Attributes:
        fingerprint: That of the encoder, and that its tokens are rounded.
        num_found: Images whose features were on disk.
        num_encoded: Images that were encoded.
        num_not_kept: Those of them for which there was no room, or no folder that can be written.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        *,
        fingerprint: str,
        folder: Path | Literal["default"] = "default",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.stride = encoder.stride
        self.fingerprint = hashlib.sha256(f"{fingerprint} rounded to float16".encode()).hexdigest()
        root = default_cache() / "features" if folder == "default" else folder
        self.folder = root / self.fingerprint[:16]
        self.max_bytes = max_bytes
        self.num_found = self.num_encoded = self.num_not_kept = 0
        self._num_bytes: int | None = None
        self._is_closed = False

    def train(self, mode: bool = True) -> "CachedEncoder":
        """Stay in evaluation mode: features of a frozen encoder do not depend on what is done around it."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return features of RGB images in [0, 1], from disk where they are there; no gradient comes back.

        Where the folder cannot be written, features are computed and not kept, with one warning.

        Raises:
            CheckpointError: A feature is not finite or too large for half precision.
        """
        rows = [self._row(image) for image in images]
        maps = torch.stack([row["patches"] for row in rows]).to(images.device, torch.float32)
        tokens = rearrange(maps, "b h w d -> b (h w) d")
        whole = [row["global"] for row in rows if "global" in row]
        return PatchFeatures(
            tokens=tokens,
            grid=(maps.shape[1], maps.shape[2]),
            stride=self.stride,
            global_token=torch.stack(whole).to(tokens) if len(whole) == len(rows) else None,
        )

    def _row(self, image: Float[Tensor, "3 H W"]) -> dict[str, Tensor]:
        path = self._path(image)
        kept = _read(path)
        if kept is not None:
            self.num_found += 1
            return kept
        fresh = self._encode(image)
        self.num_encoded += 1
        self._keep(path, fresh)
        return fresh

    def _encode(self, image: Float[Tensor, "3 H W"]) -> dict[str, Tensor]:
        features = self.encoder.eval()(image[None])  # whoever else holds the encoder may have called train()
        row = {"patches": rearrange(features.as_map(), "1 d h w -> h w d")}
        if features.global_token is not None:
            row["global"] = rearrange(features.global_token, "1 d -> d")
        row = {name: value.to("cpu", torch.float16).contiguous() for name, value in row.items()}
        if not all(value.isfinite().all() for value in row.values()):
            raise CheckpointError(
                doing="keeping features in half precision",
                found="numbers that are not finite, or above 65,504",
                expected="features of ordinary size",
                fix="Use this encoder without the cache.",
            )
        return row

    def _keep(self, path: Path, row: dict[str, Tensor]) -> None:
        size = sum(value.nbytes for value in row.values())
        if self._num_bytes is None:
            self._num_bytes = sum(file.stat().st_size for file in self.folder.glob("*/*.safetensors"))
        if self._num_bytes + size > self.max_bytes or self._is_closed:
            if not self.num_not_kept and not self._is_closed:
                warnings.warn(
                    f"{self.folder} holds {self._num_bytes / 2**30:.1f} GiB of features, and {self.max_bytes / 2**30:.1f}"
                    " are allowed: further images are encoded each time. Delete what is not needed there, or allow more.",
                    stacklevel=4,
                )
            self.num_not_kept += 1
            return
        try:
            make_private(self.folder.parent)
            with atomic_path(path, durable=False) as temporary:
                save_file(row, temporary, metadata={"sha256": tensor_digest(row)})
        except OutputError as error:
            warnings.warn(
                f"Features cannot be kept in {self.folder} ({error.found}): images are encoded each time. Free some "
                "space there, or set LEXISEG_CACHE to a folder that can be written to.",
                stacklevel=4,
            )
            self._is_closed = True
            self.num_not_kept += 1
        else:
            self._num_bytes += size

    def _path(self, image: Float[Tensor, "3 H W"]) -> Path:
        digest = hashlib.sha256(f"{self.fingerprint} {tuple(image.shape)}".encode())
        digest.update(image.to("cpu", torch.float32).contiguous().numpy().data)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def _read(path: Path) -> dict[str, Tensor] | None:
    """Read one image's features; None where there are none, or a file that another program damaged."""
    try:
        with safe_open(path, framework="pt") as opened:  # maps the file into memory
            row = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            wanted = (opened.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return row if wanted == tensor_digest(row) else None
