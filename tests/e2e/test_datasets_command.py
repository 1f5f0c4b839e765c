"""``lexiseg datasets`` as a person types it."""

import pytest

import dataset_trees as trees
from lexiseg.cli import main
from lexiseg.data.datasets import DATASETS


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["datasets", *arguments])
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.out + captured.err


def test_list_names_every_data_set_with_tree_licence_and_source(capsys):
    code, text = run([], capsys)
    assert code == 0
    for name, facts in DATASETS.items():
        assert f"\n{name}  {facts.title}" in text
        assert facts.licence in text
        assert facts.source in text
        assert facts.tree.splitlines()[0] in text


def test_one_data_set_is_shown(capsys):
    code, text = run(["show", "cityscapes19"], capsys)
    assert code == 0
    assert "gtFine/{train,val}/CITY" in text


def test_splits_are_listed(capsys):
    code, text = run(["splits"], capsys)
    assert code == 0
    assert "weak-shot-coco-stuff10k-s9" in text


def test_good_copy_exits_with_0_and_bad_one_with_1(tmp_path, capsys):
    trees.voc(tmp_path, background=True)
    code, text = run(["check", "voc21", str(tmp_path), "--part"], capsys)
    assert code == 0, text
    assert text.endswith("good (6 label files read)\n")
    code, text = run(["check", "voc21", str(tmp_path)], capsys)
    assert code == 1
    assert "published are 1,449" in text


def test_unseen_labels_in_training_maps_are_found_and_mended(tmp_path, capsys):
    trees.voc(tmp_path / "copy", background=False)
    check = ["check", "voc20", str(tmp_path / "copy"), "--part", "--classes", "zero-shot-voc"]
    code, text = run(check, capsys)
    assert code == 1
    assert "--hide-unseen zero-shot-voc" in text
    convert = ["convert", "voc20", str(tmp_path / "copy"), "--out", str(tmp_path / "out"), "--split", "train"]
    code, text = run([*convert, "--hide-unseen", "zero-shot-voc"], capsys)
    assert code == 0
    assert "2 label files written" in text
    code, text = run(["check", "folder", str(tmp_path / "out")], capsys)
    assert code == 0, text


def test_published_ids_become_train_ids(tmp_path, capsys):
    trees.coco(tmp_path / "copy", "published", "stuff171")
    code, text = run(
        [
            "convert",
            "coco-stuff164k",
            str(tmp_path / "copy"),
            "--to",
            "labelTrainIds",
            "--out",
            str(tmp_path / "out"),
        ],
        capsys,
    )
    assert code == 0
    assert "(published → labelTrainIds)" in text
    assert len(list((tmp_path / "out/annotations/val2017").glob("*_labelTrainIds.png"))) == trees.VAL


def test_misspelt_name_exits_with_2_and_suggests(tmp_path, capsys):
    code, text = run(["check", "coco-stuff", str(tmp_path)], capsys)
    assert code == 2
    assert "Nearest: coco-stuff10k" in text
