"""The command that compares vocabularies, which ``lexiseg datasets similarity`` mounts."""

import pytest

from lexiseg.cli.similarity import Similarity
from lexiseg.core.errors import InputError
from lexiseg.runs.load import MODELS
from toy_segmenter import registered


def test_all_forms_are_printed_with_both_sentences(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(MODELS, "colours", registered())
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "mine.txt").write_text("red\ngreen\n")
    (tmp_path / "theirs.txt").write_text("red\nblue\ngreen\n")
    command = Similarity(
        evaluation=str(tmp_path / "mine.txt"), training=str(tmp_path / "theirs.txt"), model="colours"
    )
    assert command.run() == 0
    printed = capsys.readouterr().out
    for word in ("bare", "single", "directed", "symmetric", "1.000", "0.000"):
        assert word in printed


def test_an_unknown_list_names_those_there_are():
    with pytest.raises(InputError, match=r"neither a file nor a class list.*coco_stuff171.*voc20"):
        Similarity(evaluation="voc99", training="voc20").run()
