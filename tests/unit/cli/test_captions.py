import json
from pathlib import Path

import pytest
import tyro

from caption_files import good_members, write_folder, write_shard, write_shards
from lexiseg.cli.captions import Captions
from lexiseg.core.errors import InputError


def run(*arguments: object) -> int:
    return tyro.cli(Captions, args=[str(a) for a in arguments], config=(tyro.conf.OmitArgPrefixes,)).run()


def test_good_captions_give_0_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", write_shards(tmp_path / "s"), "--json", tmp_path / "facts.json") == 0
    printed = capsys.readouterr().out
    assert "50 in 3 shards" in printed
    assert "nothing broken" in printed
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["num_images"], facts["num_broken"]) == (50, 0)


def test_rot_gives_1_and_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [good_members(number) for number in range(5)]
    records[2]["jpg"] = b"rot"
    path = write_shard(tmp_path / "a.tar", records)
    assert run("check", path, "--ledger", tmp_path / "l.jsonl") == 1
    assert "1 unreadable image: a.tar#00002" in capsys.readouterr().out
    (line,) = (tmp_path / "l.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "00002"


def test_a_folder_is_packed_into_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "folder", count=6)
    (folder / "images" / "003.png").write_bytes(b"rot")
    assert run("pack", folder, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "5 records in 1 shards written to" in printed.out
    assert "1 broken records left out" in printed.err
    assert run("check", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("check",), "found no path"),
        (("check", "a.tar", "--workers", "0"), "found --workers 0"),
        (("pack", "a.tar", "--out", "x", "--shard-mb", "0"), "found --shard-mb 0"),
        (("check", "nothing.tar"), "found no file nothing.tar"),
    ],
)
def test_wrong_options_are_explained(arguments: tuple[str, ...], found: str) -> None:
    with pytest.raises(InputError) as caught:
        run(*arguments)
    assert found in str(caught.value)
