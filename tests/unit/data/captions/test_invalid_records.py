from pathlib import Path

import pytest
from PIL import Image

from lexiseg.core.errors import OutputError
from lexiseg.data.captions.invalid_records import (
    InvalidRecordLog,
    read_invalid_records,
    write_invalid_records,
)
from lexiseg.data.captions.opening import open_caption_source, read_samples
from lexiseg.data.captions.records import InvalidReason, InvalidRecord

RECORDS = [InvalidRecord("a.tar", f"{n}", InvalidReason.IMAGE, "why") for n in range(3)]
pytestmark = pytest.mark.filterwarnings("ignore:a record cannot be used")


def test_what_several_processes_write_is_merged(tmp_path: Path) -> None:
    (tmp_path / "other-1.jsonl").write_text(
        '{"shard": "a.tar", "key": "1", "reason": "unreadable image", "detail": "other words"}\n'
        '{"shard": "b.tar", "key": "9", "reason": "no caption", "detail": ""}\n{"shard": "c.t'
    )
    log = InvalidRecordLog(tmp_path)
    log.add(RECORDS)
    log.add(RECORDS)
    found = [(record.shard, record.key) for record in read_invalid_records(tmp_path)]
    assert found == [("a.tar", "0"), ("a.tar", "1"), ("a.tar", "2"), ("b.tar", "9")]
    written = sum(len(file.read_text().splitlines()) for file in tmp_path.glob("*.jsonl"))
    assert written == 3 + 2  # 1 was known


def test_a_ledger_in_one_file_reads_back(tmp_path: Path) -> None:
    write_invalid_records(RECORDS, tmp_path / "l.jsonl")
    assert read_invalid_records(tmp_path / "l.jsonl") == RECORDS
    assert read_invalid_records(tmp_path / "missing") == []


def test_a_place_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        InvalidRecordLog(tmp_path / "file")


def test_a_cache_that_cannot_be_written_is_no_reason_to_read_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "file/cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "images/a.png")
    (tmp_path / "images/b.png").write_bytes(b"damaged")
    (tmp_path / "captions.tsv").write_text("a\tone\nb\ttwo\n")
    with pytest.warns(UserWarning, match="listed in .*lexiseg-broken-records-"):
        samples = list(read_samples(open_caption_source(str(tmp_path))))
    assert [sample.captions for sample in samples] == [("one",)]
    assert list((tmp_path / "temporary").rglob("*.jsonl"))
