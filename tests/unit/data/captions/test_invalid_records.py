from pathlib import Path

import pytest

from lexiseg.core.errors import OutputError
from lexiseg.data.captions.invalid_records import (
    InvalidRecordLog,
    read_invalid_records,
    write_invalid_records,
)
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
