"""Streams: any number of images, in order, with few in memory; frames averaged over time."""

import weakref

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import ImageError, InputError
from lexiseg.inference.streaming import TimeAverage
from toy_segmenter import COLOURS, ColourSegmenter

NAMES = list(COLOURS)


def plain(number: int, side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), np.array(COLOURS[NAMES[number % 5]]) * 255, np.uint8)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_results_come_in_order(tmp_path, workers, batch_size):
    paths = []
    for number in range(11):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(plain(number)).save(paths[-1])
    found = list(ColourSegmenter().stream(paths, NAMES, workers=workers, batch_size=batch_size))
    assert [result.source for result in found] == paths
    assert [int(result.label_map[0, 0]) for result in found] == [number % 5 for number in range(11)]


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_bounded_whatever_the_number(count, workers):
    alive = {"images": 0, "results": 0}
    most = dict(alive)

    def watch(kind, thing):
        alive[kind] += 1
        most[kind] = max(most[kind], alive[kind])
        weakref.finalize(thing, lambda: alive.__setitem__(kind, alive[kind] - 1))
        return thing

    images = (watch("images", plain(number, 4)) for number in range(count))
    model = ColourSegmenter(short_side=4)
    seen = 0
    for result in model.stream(images, NAMES, batch_size=4, workers=workers):
        watch("results", result)
        seen += 1
    assert seen == count
    assert most["images"] <= 2 * 4 + workers + 2
    assert most["results"] <= 2


def test_it_begins_with_the_first_batch_of_an_endless_source():
    def endless():
        number = 0
        while True:
            yield plain(number)
            number += 1

    results = ColourSegmenter().stream(endless(), NAMES, batch_size=2)
    assert [int(next(results).label_map[0, 0]) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()


def test_images_that_cannot_be_read_are_told_or_raise(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    items = [plain(0), tmp_path / "bad.png", plain(2)]
    told = []
    found = list(
        ColourSegmenter().stream(items, NAMES, on_error=lambda item, error: told.append((item, type(error))))
    )
    assert [int(result.label_map[0, 0]) for result in found] == [0, 2]
    assert told == [(tmp_path / "bad.png", ImageError)]
    with pytest.raises(ImageError, match=r"bad\.png"):
        list(ColourSegmenter().stream(items, NAMES))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}, {"threshold": 0.5}])
def test_wrong_arguments_are_refused_before_an_image_is_read(wrong):
    def never():
        raise AssertionError("an image was asked for")
        yield

    with pytest.raises(InputError):
        ColourSegmenter().stream(never(), NAMES, **wrong)


def test_frames_are_averaged_where_they_are_alike():
    model = ColourSegmenter()
    average = TimeAverage(0.5)
    first = average(model.encode(np.full((32, 32, 3), (200, 40, 40), np.uint8)))
    assert float(first.features[0].tokens[0, 0, 0]) == pytest.approx(200 / 255, abs=1e-5)
    new = average(model.encode(np.full((32, 32, 3), (100, 20, 20), np.uint8)))
    assert float(new.features[0].tokens[0, 0, 0]) == pytest.approx(150 / 255, abs=1e-5), (
        "the same direction: half and half"
    )
    cut = average(model.encode(np.full((32, 32, 3), (0, 0, 250), np.uint8)))
    assert float(cut.features[0].tokens[0, 0, 2]) > 0.85, "something else keeps little of the past"


def test_a_frame_of_another_size_begins_anew():
    model, average = ColourSegmenter(), TimeAverage(0.9)
    average(model.encode(plain(0, 32)))
    other = model.encode(np.zeros((32, 64, 3), np.uint8))
    assert average(other) is other


@pytest.mark.parametrize("weight", [-0.1, 1.0, 2.0, float("nan")])
def test_a_weight_of_the_past_is_below_one(weight):
    with pytest.raises(InputError):
        TimeAverage(weight)
