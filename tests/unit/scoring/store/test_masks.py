"""The masks of a store under pycocotools' own measure."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lexiseg.cli import main
from lexiseg.data.class_lists import packaged_vocabulary
from lexiseg.data.datasets import DATASETS
from lexiseg.scoring.store.blocks import TopScores
from lexiseg.scoring.store.masks import coco_categories, predicted_masks
from written_stores import image_of, make_store, manifest_of

TRUE = [[0, 0, 1, 1], [0, 0, 1, 1]]
WRONG = [[1, 1, 1, 1], [1, 1, 1, 0]]


def top(labels, scores) -> TopScores:
    return TopScores(np.array(labels, np.uint16), np.array(scores, np.float16))


def evaluate(truth, results, capsys) -> COCOeval:
    opened = COCO(truth)
    measure = COCOeval(opened, opened.loadRes(str(results)), "segm")
    measure.evaluate()
    measure.accumulate()
    measure.summarize()
    capsys.readouterr()
    return measure


@pytest.mark.parametrize("stems", [["1", "01"], ["1", "2"], ["a", "b/c"]])
def test_cocoeval_gives_all_to_the_truth_and_less_to_something_else(tmp_path, capsys, stems):
    def export(name: str, predicted) -> str:
        images = [image_of(stem, TRUE, predicted) for stem in stems]
        make_store(tmp_path / name, ["a", "b"], images)
        with pytest.raises(SystemExit) as stopped:
            main(["export", str(tmp_path / name), str(tmp_path / f"{name}.json")])
        assert not stopped.value.code
        return str(tmp_path / f"{name}.json")

    right, wrong = export("right", TRUE), export("wrong", WRONG)
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "right"), str(tmp_path / "truth.json"), "--truth"])
    found = evaluate(tmp_path / "truth.json", right, capsys)
    assert len(found.params.imgIds) == 2
    assert found.stats[0] == pytest.approx(1)
    assert evaluate(tmp_path / "truth.json", wrong, capsys).stats[0] < 0.5


def test_names_of_one_class_are_joined_and_what_is_no_class_has_no_mask(tmp_path):
    store = make_store(
        tmp_path / "store",
        ["a", "b"],
        [image_of("x", None, [[0, 1, 2, 3]])],
        vocabulary=("a one", "a two", "b", "background"),
        synonyms=((),) * 4,
        class_of=(0, 0, 1, 65535),
    )
    (image,) = predicted_masks(store)
    assert image.label_map.tolist() == [[0, 0, 1, 65535]]


def test_a_mask_scores_the_mean_of_the_points_it_won_or_its_best_place_elsewhere(tmp_path):
    scores = top([[[0, 0]], [[1, 1]]], [[[1.0, 0.5]], [[0.25, 0.125]]])
    images = [image_of("x", None, [[0, 0, 1, 2]], scores), image_of("y", None, [[0, 1, 1, 1]])]
    store = make_store(tmp_path / "store", ["a", "b", "c"], images)
    first, second = predicted_masks(store)
    assert first.scores == {0: 0.75, 1: 0.25, 2: 0.125}
    assert second.scores == {0: 1, 1: 1}


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("coco-object80", {"person": 1, "toothbrush": 90}),
        ("coco-object81", {"background": None, "person": 1, "toothbrush": 90}),
        ("coco-stuff164k", {"person": 1, "toothbrush": 90, "banner": 92, "wood": 182}),
        ("coco-stuff10k", {"person": 1, "banner": 92}),
        ("cityscapes19", {"road": 7, "bicycle": 33}),
        ("ade20k-150", {"wall": 0}),
        (None, {"wall": 0}),
    ],
)
def test_published_sets_have_their_own_ids(dataset, expected):
    lists = {"coco-object80": ("coco_object80",), "coco-object81": ("coco_object80", "background")}
    lists |= dict.fromkeys(("coco-stuff164k", "coco-stuff10k"), ("coco_stuff171",))
    lists |= {"cityscapes19": ("cityscapes19",)}
    names = packaged_vocabulary(lists.get(dataset, ("ade20k150",))[0]).names
    if dataset == "coco-object81":
        names = ("background", *names)
    opened_with = {} if dataset is None else {"dataset": dataset}
    categories = coco_categories(manifest_of(names, ["x"], opened_with=opened_with))
    ids = dict(zip(categories.names, categories.ids, strict=True))
    assert {name: ids[name] for name in expected} == expected


def test_ids_of_published_sets_fit_their_number_of_classes():
    with_ids = {name: facts for name, facts in DATASETS.items() if facts.category_ids is not None}
    assert len(with_ids) == 5
    for facts in with_ids.values():
        ids = [each for each in facts.category_ids if each is not None]
        assert len(facts.category_ids) == facts.num_classes
        assert len(set(ids)) == len(ids)


def test_a_data_set_names_the_files(tmp_path):
    make_store(tmp_path / "s", ["a"], [image_of("x", None, [[0]])], file_names=("images/x.jpg",))
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "s"), str(tmp_path / "set.json"), "--format", "coco"])
    content = json.loads((tmp_path / "set.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "images/x.jpg", "height": 1, "width": 1}]
