import io
import json

import numpy as np
import pytest
from rich.console import Console

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.data.class_lists import packaged_vocabulary
from lexiseg.scoring.compare import difference, refuse_incomparable
from lexiseg.scoring.plot import draw_scores
from lexiseg.scoring.protocol import Protocol
from lexiseg.scoring.published import find_protocol
from lexiseg.scoring.report import Report, store_notes, worst_confusions
from lexiseg.scoring.score import score
from lexiseg.scoring.store.blocks import TopScores
from lexiseg.scoring.store.counts import StoreCounter
from lexiseg.scoring.store.store import PredictionStore
from lexiseg.scoring.tables import print_report
from written_stores import image_of, make_store

M1 = image_of("m1", [[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 65535]], [[0, 0, 0, 3, 1, 1, 0, 2, 2, 2, 1]])
FIVE = ("road", "sky", "tree", "boat", "never")


def scored(store, name, **options):
    protocol = find_protocol(name) if isinstance(name, str) else name
    return score(StoreCounter(store), protocol, resamples=20, **options)


@pytest.mark.parametrize(
    ("name", "expected", "averaged"),
    [("mmseg", 0.56667, 4), ("present-only", 0.75556, 3), ("all-classes", 0.45333, 5)],
)
def test_hand_example_m1_under_each_averaging(tmp_path, name, expected, averaged):
    result = scored(make_store(tmp_path / "s", FIVE, [M1]), name)
    assert result.headline == pytest.approx(expected, abs=1e-5)
    assert result.num_averaged == averaged
    assert result.scores.pixel_accuracy == 0.8
    assert result.protocol.name == name


def test_hand_example_m1_with_a_split(tmp_path):
    store = make_store(tmp_path / "s", FIVE, [M1], seen=(0, 1))
    seen, unseen, _ = scored(store, "mmseg").split_means
    assert (seen, unseen) == (pytest.approx(0.63333, abs=1e-5), 0.5)
    store = make_store(tmp_path / "t", FIVE, [M1], seen=(0, 1, 3, 4))
    assert scored(store, "mmseg").split_means[1] == 1
    plain = Protocol(name="m1-split", source="test", unseen=("tree",))
    assert scored(store, plain).split_means == pytest.approx(
        (1.266667 / 3, 1, 2 * 0.422222 / 1.422222), abs=1e-5
    )
    strict = Protocol(name="m1-strict", source="test", unseen=("tree",), absent_unseen="undefined")
    assert np.isnan(scored(store, strict).split_means[0])
    assert scored(store, strict).split_means[1] == 1


def test_unseen_classes_are_found_under_another_spelling(tmp_path):
    official = packaged_vocabulary("voc20").names
    spelt = {"pottedplant": "Potted plant", "tvmonitor": "TV-monitor"}
    image = image_of("a", [list(range(20))], [[*range(15), 0, 1, 17, 18, 19]])
    ours = scored(
        make_store(tmp_path / "s", [spelt.get(name, name) for name in official], [image]), "zegclip-voc"
    )
    theirs = scored(make_store(tmp_path / "t", official, [image]), "zegclip-voc")
    assert ours.sides == theirs.sides
    assert ours.sides[1] == {15, 16, 17, 18, 19}
    assert ours.split_means == theirs.split_means


def voc_top(width, order):
    labels = np.tile(np.array(order, np.uint16)[:, None, None], (1, 1, width))
    return TopScores(labels, np.tile(np.array([1, 0.5], np.float16)[:, None, None], (1, 1, width)))


def voc_store(folder):
    """An image whose background is painted over: VOC-21 sees it, VOC-20 does not."""
    true = [[0, 0, 0, 0, 1, 1, 2, 2, 65535]]
    predicted = [[0, 1, 1, 1, 1, 0, 2, 2, 2]]
    image = image_of("a", true, predicted, voc_top(9, (0, 1)))
    return make_store(folder, packaged_vocabulary("voc21").names, [image])


def test_voc20_and_voc21_from_one_store(tmp_path):
    store = voc_store(tmp_path / "s")
    with_background = scored(store, "voc21")
    assert with_background.num_averaged == 3
    assert with_background.headline == pytest.approx((1 / 5 + 1 / 5 + 1) / 3)
    without = scored(store, "voc20")  # the pixel called background goes to class 1, the next best
    assert without.num_averaged == 2
    assert len(without.names) == 20
    assert without.headline == 1
    assert any("next best class, from the stored scores" in note for note in without.notes)
    assert without.protocol.name == "voc20"


def test_background_painted_by_a_threshold_is_given_back_where_it_is_not_scored(tmp_path):
    store = voc_store(tmp_path / "s")
    store.manifest.settings["background"] = "threshold"
    assert scored(store, "voc20").headline == 1


def test_background_that_the_data_lacks_is_dropped_too(tmp_path):
    """The model was asked for one more class than the data has; 65535 stands for it."""
    image = image_of("a", [[0, 0, 1, 1]], [[0, 2, 1, 1]], voc_top(4, (2, 0)))
    facts = {"vocabulary": ("cat", "dog", "background"), "class_of": (0, 1, 65535), "background": 2}
    store = make_store(tmp_path / "s", ("cat", "dog"), [image], synonyms=((),) * 3, **facts)
    assert scored(store, "mmseg").headline == pytest.approx((1 / 2 + 1) / 2)
    assert scored(store, "without-background").headline == 1


@pytest.mark.parametrize(
    ("protocol", "threshold", "message"),
    [
        ("without-background", None, r"leaving background out .*background = name.*--background none"),
        ("voc20", None, r"leaving background out .*--protocol NAME"),
        ("mmseg", 0.5, r"deciding background by a threshold .*--background threshold --threshold T"),
    ],
)
def test_what_the_kept_scores_did_not_decide_is_not_decided_again(tmp_path, protocol, threshold, message):
    names = (
        ("background", *packaged_vocabulary("voc20").names) if protocol == "voc20" else ("background", "cat")
    )
    images = [image_of("a", [[1, 0]], [[0, 0]], voc_top(2, [0, 1]))]
    settings = {"model": "hand", "background": "name", "refine": "crf"}
    store = make_store(tmp_path / "s", names, images, redecisions=(), settings=settings)
    with pytest.raises(InputError, match=message):
        scored(store, protocol, threshold=threshold)


def test_a_store_that_says_nothing_of_it_is_not_decided_again(tmp_path):
    make_store(tmp_path / "s", ("background", "cat"), [image_of("a", [[1, 0]], [[0, 0]])])
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    del manifest["redecisions"]
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="leaving background out"):
        scored(PredictionStore(tmp_path / "s"), "without-background")


def test_a_store_without_scores_cannot_drop_a_background(tmp_path):
    store = make_store(tmp_path / "s", ("background", "cat"), [image_of("a", [[1, 0]], [[0, 0]])])
    with pytest.raises(DatasetError, match=r"'a': found no scores of this image.*lexiseg predict.*--top 5"):
        scored(store, "without-background")


def test_what_a_run_does_not_apply_is_said_and_shows_in_the_name(tmp_path):
    result = scored(voc_store(tmp_path / "s"), "simseg-voc")
    assert result.protocol.name.endswith("+not_applied=simseg-candidates-10,simseg-masks")
    assert any("not applied by this run: per-class min-max maps" in note for note in result.notes)


def test_boundary_needs_no_scores_and_has_no_limit_of_255_classes(tmp_path):
    names = [f"class {label}" for label in range(400)]
    true, predicted = np.full((40, 40), 300), np.full((40, 40), 300)
    true[:20], predicted[:22] = 399, 399
    result = scored(make_store(tmp_path / "s", names, [image_of("a", true, predicted)]), "boundary")
    assert result.num_averaged == 2
    # One pixel wide bands: frames of the upper and the lower rectangle, which share three sides but for two rows.
    upper, lower = (19 + 19 + 2 * 40 - 2, 21 + 21 + 2 * 40 - 2), (19 + 19 + 2 * 40 - 2, 17 + 17 + 2 * 40 - 2)
    shared_upper, shared_lower = 40 + 2 * 19, 40 + 2 * 17
    expected = [
        shared_upper / (upper[0] + upper[1] - shared_upper),
        shared_lower / (lower[0] + lower[1] - shared_lower),
    ]
    assert result.scores.iou[[399, 300]] == pytest.approx(expected)
    assert (
        0
        < result.headline
        < scored(make_store(tmp_path / "t", names, [image_of("a", true, predicted)]), "mmseg").headline
    )


def test_imagenet_s_counts_other_and_says_the_evaluators_numbers(tmp_path):
    names = ("other", *packaged_vocabulary("imagenet_s50").names)
    image = image_of("a", [[0, 0, 1, 1]], [[0, 1, 1, 1]])
    result = scored(
        make_store(tmp_path / "s", names, [image], classes_background=0, background=0), "imagenet-s50"
    )
    assert result.num_averaged == 51
    assert result.headline == pytest.approx((1 / 2 + 2 / 3) / 51)
    assert result.imagenet_s.mean_iou == pytest.approx(result.headline)
    assert result.imagenet_s.image_accuracy == 1


def test_perfect_constant_swapped_and_void_predictions_behave_as_they_must(tmp_path):
    true = np.random.default_rng(0).integers(0, 5, (30, 30))
    assert scored(make_store(tmp_path / "a", FIVE, [image_of("a", true, true)]), "all-classes").headline == 1
    constant = scored(make_store(tmp_path / "b", FIVE, [image_of("a", true, np.full((30, 30), 2))]), "mmseg")
    assert constant.headline == pytest.approx((true == 2).mean() / 5)
    other = np.roll(true, 1)
    swap = np.array([1, 0, 2, 3, 4])
    plain = scored(make_store(tmp_path / "c", FIVE, [image_of("a", true, other)]), "mmseg").headline
    swapped = scored(
        make_store(tmp_path / "d", FIVE, [image_of("a", swap[true], swap[other])]), "mmseg"
    ).headline
    padded = [np.vstack([true, np.full((3, 30), 65535)]), np.vstack([other, np.ones((3, 30))])]
    with_void = scored(make_store(tmp_path / "e", FIVE, [image_of("a", *padded)]), "mmseg").headline
    assert plain == pytest.approx(swapped)
    assert plain == with_void


def test_worst_confusions_name_the_pairs_that_cost_most(tmp_path):
    image = image_of("a", [[0, 0, 0, 1, 1, 2]], [[1, 1, 0, 65535, 1, 2]])
    result = scored(make_store(tmp_path / "s", FIVE, [image]), "mmseg")
    assert worst_confusions(result) == [("road", "sky", 2, 2 / 3), ("sky", "no class", 1, 1 / 2)]


def test_json_has_no_nan_and_every_choice(tmp_path):
    store = make_store(tmp_path / "s", FIVE, [M1], stems=["m1", "gone"])
    content = Report(results=(scored(store, "mmseg"),), store=store).as_json()
    assert content["num_missing"] == 1
    (one,) = content["protocols"]
    assert one["choices"]["averaging"] == "occurs_or_predicted"
    assert one["per_class"][4]["iou"] is None
    assert one["per_class"][0]["interval"] == [None, None]  # one image: nothing varies
    assert store_notes(store) == ["1 of 2 images are missing: gone"]


def test_image_grows_with_the_classes_and_hides_the_middle_of_many(tmp_path):
    small = draw_scores(scored(make_store(tmp_path / "s", FIVE, [M1]), "mmseg"))
    names = [f"class {label}" for label in range(100)]
    true = np.random.default_rng(0).integers(0, 100, (60, 60))
    large = draw_scores(
        scored(make_store(tmp_path / "t", names, [image_of("a", true, np.roll(true, 1))]), "mmseg")
    )
    assert small.width == large.width
    assert small.height < large.height < 1000


def test_difference_of_two_stores_is_per_class_and_paired(tmp_path):
    generator = np.random.default_rng(0)
    worse, better = [], []
    for index in range(12):
        true = np.kron(generator.integers(0, 2, (5, 5)), np.ones((4, 4))).astype(int)
        wrong, less = true.copy(), true.copy()
        wrong[:4], less[:3] = 1 - true[:4], 1 - true[:3]
        worse.append(image_of(str(index), true, wrong))
        better.append(image_of(str(index), true, less))
    first, second = (
        make_store(tmp_path / n, ("a", "b"), images) for n, images in (("w", worse), ("b", better))
    )
    refuse_incomparable(first, second)
    found = difference(scored(first, "mmseg"), scored(second, "mmseg"), resamples=200)
    assert found.interval[0] > 0
    assert (found.iou > 0).all()
    assert found.interval[0] <= found.headline <= found.interval[1]
    other = make_store(tmp_path / "o", ("a", "b"), better[:5])
    with pytest.raises(DatasetError, match="found different images"):
        refuse_incomparable(first, other)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            image_of("a", [[0, 9]], [[0, 1]]),
            r"prediction of 'a' in .*shard-000.runs: found true labels beyond its 5 classes",
        ),
        (
            image_of("a", [[0, 1]], [[0, 7]]),
            r"prediction of 'a' in .*shard-000.runs: found predicted labels beyond its 5 classes",
        ),
        (image_of("a", None, [[0, 1]]), r"no true label map in .*shard-000.runs"),
        (
            image_of("a", [[0, 1, 1]], [[0, 1]]),
            r"prediction of 'a' in .*shard-000.runs: found runs that do not fill 1×2 pixels",
        ),
    ],
)
def test_bad_blocks_are_named_with_image_file_and_remedy(tmp_path, image, message):
    store = make_store(tmp_path / "s", FIVE, [image])
    with pytest.raises(DatasetError, match=message):
        scored(store, "mmseg")


def test_a_class_that_is_only_predicted_makes_a_strict_mean_undefined(tmp_path):
    image = image_of("a", [[0, 0, 1, 1]], [[0, 2, 1, 1]])  # 2 is never true, but predicted
    store = make_store(tmp_path / "s", FIVE[:3], [image])
    for side in ("skip", "undefined"):
        protocol = Protocol(name=f"wrongly-{side}", source="test", unseen=("tree",), absent_unseen=side)
        seen, unseen, _ = scored(store, protocol).split_means
        assert seen == pytest.approx(0.75)
        assert np.isnan(unseen) if side == "undefined" else unseen == 0


def test_imagenet_s_with_an_empty_size_bin_can_be_written(tmp_path):
    names = ("other", *packaged_vocabulary("imagenet_s50").names)
    store = make_store(
        tmp_path / "s",
        names,
        [image_of("a", [[0, 0, 1, 1]], [[0, 1, 1, 1]])],
        classes_background=0,
        background=0,
    )
    (one,) = Report(results=(scored(store, "imagenet-s50"),), store=store).as_json()["protocols"]
    written = json.loads(json.dumps(one, allow_nan=False))["imagenet_s"]
    assert written["mean_iou_by_size"] == [None, None, pytest.approx((1 / 2 + 2 / 3) / 2), None]
    assert written["image_accuracy"] == 1


def stuff_store(folder, *, num=1, **more):
    images = [image_of(str(index), [[0, 1]], [[0, 1]]) for index in range(num)]
    return make_store(folder, packaged_vocabulary("coco_stuff171").names, images, **more)


@pytest.mark.parametrize(
    ("dataset", "split", "num", "protocol", "differing"),
    [
        ("coco-stuff10k", "test", 3, "coco-stuff171", "data set coco-stuff10k, split test, 3 images"),
        ("coco-stuff10k", "test", 1000, "coco-stuff10k", None),
        ("coco-stuff10k", "test", 3, "coco-stuff10k", "3 images"),
        ("coco-stuff10k", "train", 3, "coco-stuff10k", "split train, 3 images"),
        (None, None, 3, "coco-stuff10k", "data set not recorded, split none, 3 images"),
        ("folder", "test", 3, "coco-stuff10k", "data set folder, 3 images"),
        ("coco-stuff10k", "train", 2, "mmseg", None),
    ],
)
def test_images_that_are_not_the_benchmarks_are_told(tmp_path, dataset, split, num, protocol, differing):
    opened = {} if dataset is None else {"dataset": dataset}
    store = stuff_store(tmp_path / "s", num=num, opened_with=opened, split=split)
    notes = [note for note in scored(store, protocol).notes if "benchmark" in note]
    benchmark = find_protocol(protocol).benchmark
    expected = [f"not the images of its benchmark ({benchmark}): {differing}"] if differing else []
    assert notes == expected


def test_nothing_is_cut_at_80_columns(tmp_path):
    names = ("mmseg", "zegclip-coco", "coco-stuff171", "boundary-imagenet-s")
    store = stuff_store(tmp_path / "s", num=3, seen=tuple(range(9)))
    results = tuple(scored(store, name) for name in names)
    for width in (80, 40):
        file = io.StringIO()
        print_report(Report(results=results, store=store), Console(width=width, file=file))
        printed = file.getvalue()
        tables = printed[: printed.index("model hand")]
        assert "…" not in printed.replace("images are missing", "")
        assert width == 40 or max(map(len, tables.splitlines())) <= 80
        rows = [line.split("  ") for line in tables.splitlines()]
        cells = [cell.strip() for row in rows for cell in row]
        assert cells.count("100.0 to 100.0") == 3  # of four means; the last counts absent classes 0
        for heading in ("seen", "unseen", "harmonic"):
            assert heading in cells
        column = "".join(row[0].strip() for row in rows)
        assert "+refine=unfixed+not_applied=prompts-multi" in column
        assert "boundary-imagenet-s" in column
