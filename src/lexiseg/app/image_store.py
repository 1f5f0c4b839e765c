"""Encoded images within a memory: the oldest of whoever holds most go first, so that nobody drives others out."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt16
from torch import Tensor

from lexiseg.app.fair_queue import Visitor
from lexiseg.app.refusals import RefusalError
from lexiseg.core.segmentation import Segmentation
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import EncodedImage


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The last words that an image was asked, and the answer.

    Attributes:
        class_names: What competed.
        changes: Settings that were changed.
        segmentation: The answer.
        revision: Grows with every answer of the server.
    """

    class_names: ClassNames
    changes: Mapping[str, Any]
    segmentation: Segmentation
    revision: int


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptImage:
    """An image of a visitor.

    Attributes:
        id: Nobody can guess it: who has it may ask for the image.
        name: Of its file, made safe.
        encoded: The image and its features.
        asked: The last answer; None before the first.
        corrected: The label map as a person corrected it; None where nobody has.
    """

    id: str
    name: str
    encoded: EncodedImage
    asked: Asked | None = None
    corrected: UInt16[np.ndarray, "H W"] | None = None

    @property
    def label_map(self) -> UInt16[np.ndarray, "H W"]:
        """The label map that is downloaded."""
        assert self.asked is not None, "an image that was asked nothing"
        return self.asked.segmentation.label_map if self.corrected is None else self.corrected


def num_bytes(value: Any) -> int:
    """Return the bytes of all arrays and tensors in a value of ours, each counted once."""
    seen: dict[int, int] = {}

    def add(each: Any) -> None:
        if isinstance(each, np.ndarray):
            seen[each.ctypes.data] = each.nbytes
        elif isinstance(each, Tensor):
            storage = each.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        elif isinstance(each, list | tuple):
            for item in each:
                add(item)
        elif isinstance(each, Mapping):
            for item in each.values():
                add(item)
        elif is_dataclass(each) and not isinstance(each, type):
            for field in fields(each):
                add(getattr(each, field.name))

    add(value)
    return sum(seen.values())


class ImageStore:
    """Images by id.

    Args:
        max_bytes: Of all of them with their features and answers.
        remembered: Bytes that the model itself remembers of an encoded image.
    """

    def __init__(self, max_bytes: int, remembered: Callable[[EncodedImage], int]) -> None:
        self.max_bytes, self._remembered = max_bytes, remembered
        self._images: OrderedDict[str, tuple[Visitor, KeptImage, int]] = OrderedDict()
        self._of_visitor: dict[Visitor, int] = {}
        self._lock = threading.Lock()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def add(self, visitor: Visitor, name: str, encoded: EncodedImage) -> KeptImage:
        """Keep an image under a new id.

        Raises:
            RefusalError: It alone is larger than the memory.
        """
        kept = KeptImage(id=secrets.token_urlsafe(24), name=name, encoded=encoded)
        self._put(visitor, kept)
        return kept

    def get(self, image_id: str) -> KeptImage:
        """Return an image, which becomes the youngest.

        Raises:
            RefusalError: It is not there.
        """
        with self._lock:
            return self._get(image_id)[1]

    def change(self, image_id: str, **changes: Any) -> KeptImage:
        """Replace what is known of an image.

        Raises:
            RefusalError: It is not there, or has become larger than the memory.
        """
        with self._lock:
            visitor, kept, _ = self._get(image_id)
        kept = replace(kept, **changes)
        self._put(visitor, kept)
        return kept

    def remove(self, image_id: str) -> None:
        """Forget an image.

        Raises:
            RefusalError: It is not there.
        """
        with self._lock:
            self._get(image_id)
            self._drop(image_id)

    def _get(self, image_id: str) -> tuple[Visitor, KeptImage, int]:
        if image_id not in self._images:
            raise RefusalError(
                404,
                doing="looking for an image",
                found="none of that id: it was removed, or made room for others",
                expected="the id of an image that was uploaded a short while ago",
                fix="Upload it again.",
            )
        self._images.move_to_end(image_id)
        return self._images[image_id]

    def _put(self, visitor: Visitor, kept: KeptImage) -> None:
        size = num_bytes(kept) + self._remembered(kept.encoded)
        with self._lock:
            if kept.id in self._images:
                self._drop(kept.id)
            if size > self.max_bytes:
                raise RefusalError(
                    413,
                    doing=f"keeping {kept.name}",
                    found=f"{size / 2**20:,.0f} MiB with its features",
                    expected=f"at most {self.max_bytes / 2**20:,.0f} MiB",
                    fix="Shrink the image, or start the server with more --memory-mb.",
                )
            while self.num_bytes + size > self.max_bytes:
                most = max(self._of_visitor, key=lambda each: self._of_visitor[each])
                self._drop(next(key for key, held in self._images.items() if held[0] == most))
            self._images[kept.id] = (visitor, kept, size)
            self._of_visitor[visitor] = self._of_visitor.get(visitor, 0) + size
            self.num_bytes += size

    def _drop(self, image_id: str) -> None:
        visitor, _, size = self._images.pop(image_id)
        self.num_bytes -= size
        self._of_visitor[visitor] -= size
        if not any(held[0] == visitor for held in self._images.values()):
            del self._of_visitor[visitor]
