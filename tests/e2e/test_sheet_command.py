"""``lexiseg sheet``: one page of a folder of results, or of two."""

import json
import re

import numpy as np
import pytest

from lexiseg.cli import main
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary


def results(folder, words, maps):
    for stem, labels in maps.items():
        labels = np.array(labels, np.uint16)
        Segmentation(
            label_map=labels,
            score_map=np.ones(labels.shape, np.float32),
            vocabulary=Vocabulary(names=words),
            image=np.zeros((*labels.shape, 3), np.uint8),
            settings={"model": f"model of {folder.name}"},
        ).save(folder, stem)


def sheet(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["sheet", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_two_folders_are_compared_by_names_and_nothing_of_a_name_is_markup(tmp_path, capsys):
    hostile = "<script>alert(1)</script>"
    results(tmp_path / "a", ("cat", hostile), {"x": [[0, 0], [1, 1]], "only a": [[0]]})
    results(tmp_path / "b", (hostile, "cat"), {"x": [[1, 1], [1, 0]]})
    assert sheet(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert "1 images in" in capsys.readouterr().out
    assert hostile not in page
    assert "25% of pixels differ" in page
    assert page.count("data:image/jpeg") == 2
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert [json.loads(found) for found in re.findall(r"data-classes='(.*?)'", page)] == [[0, 1]]


def test_one_folder_gets_an_index_and_a_folder_without_results_is_refused(tmp_path, capsys):
    results(tmp_path / "a", ("cat",), {"x": [[0, 0]], "deep/y": [[0, 0]]})
    assert sheet(tmp_path / "a") == 0
    assert (tmp_path / "a" / "index.html").read_text().count("<figure") == 2
    (tmp_path / "empty").mkdir()
    assert sheet(tmp_path / "empty") == 2
    assert "no result" in capsys.readouterr().err
    assert sheet(tmp_path / "a", tmp_path / "a", tmp_path / "a") == 2
