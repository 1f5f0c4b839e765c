"""Every writer says with an error of ours that there is no room, and leaves nothing half-written."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import OutputError
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.curation.shard_files import write_arrays
from lexiseg.data.partial_labels.pseudo_masks import write_pseudo_mask
from lexiseg.data.published.label_encodings import write_values
from lexiseg.engine.checkpoint import write_checkpoint, write_tensors
from lexiseg.engine.log import RunLog
from lexiseg.methods.rim.references.bank import ClassReferences, save_bank
from lexiseg.scoring.store.store import StoreWriter
from written_stores import image_of, manifest_of

if sys.platform != "linux":
    pytest.skip("limits of file sizes are set as on Linux", allow_module_level=True)

ROWS = [[column % 2 for column in range(5000)]]
NOISE = np.random.default_rng(0).integers(0, 60000, (64, 64), np.uint16)


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Let the system refuse what makes a file larger, as it does on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def bank(out: Path) -> None:
    features = torch.nn.functional.normalize(torch.randn(300, 8), dim=1).half().float()
    each = ClassReferences(
        name="cat", key="k", features=features, clusters=torch.zeros(300, dtype=torch.long),
        references=features[:1], negatives=features[:0], thumbnails=(), origins=("a",) * 300,
    )  # fmt: skip
    save_bank(out / "x.bank", [each], encoder={"name": "e", "fingerprint": "f", "short_side": 64})


def segmentation(out: Path) -> None:
    Segmentation(
        label_map=NOISE % 3, score_map=np.ones(NOISE.shape, np.float32), vocabulary=Vocabulary(names=("a", "b", "c")),
        image=np.zeros((*NOISE.shape, 3), np.uint8),
    ).save(out, "x")  # fmt: skip


def log(out: Path) -> None:
    made = RunLog(out, 0)
    try:
        for step in range(1, 200):
            made.evaluation(step, {"score": 0.5})
    finally:
        made.close()


def store(out: Path) -> None:
    with StoreWriter(out, manifest_of(["a"], ["x"])) as writer:
        writer.append(image_of("x", None, ROWS))


def final_weights(out: Path) -> None:
    with atomic_path(out / "model.safetensors") as temporary:
        write_tensors(temporary, {"w": torch.zeros(4000)})


WRITERS: dict[str, Callable[[Path], None]] = {
    "bank": bank,
    "segmentation": segmentation,
    "log": log,
    "store": store,
    "final weights": final_weights,
    "checkpoint": lambda out: write_checkpoint(out, 1, {"model": {"w": torch.zeros(4000)}}, {}, 1),
    "arrays": lambda out: write_arrays(out / "x.safetensors", {"a": np.zeros(4000)}, {}),
    "label file": lambda out: write_values(out / "x.png", NOISE, 16),
    "pseudo mask": lambda out: write_pseudo_mask(out, "x", NOISE),
}
#: Appended to: what is whole in them stays.
APPENDED = {"log.jsonl", "timing.jsonl", "shard-000.runs", "manifest.json"}


@pytest.mark.parametrize("name", WRITERS)
def test_no_room_is_told_and_nothing_half_written_stays(tmp_path, monkeypatch, name):
    torch.manual_seed(0)
    monkeypatch.setattr("lexiseg.engine.log._open_board", lambda *_: None)  # it writes in a thread of its own
    image_of("x", None, ROWS)  # compiled, and kept on disk, before there is no room
    with files_of_at_most(2048), pytest.raises(OutputError) as caught:
        WRITERS[name](tmp_path / "out")
    assert "File too large" in caught.value.found
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= APPENDED
    WRITERS[name](tmp_path / "out")  # the same again, with room
