"""What labels are worth: more masks are not worse, intervals hold the value, the same call gives the same."""

from dataclasses import replace

import pytest

from lexiseg.core.errors import InputError
from lexiseg.data.folder import FolderDataset
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.recipes.frozen_head import open_describer
from lexiseg.runs.exchange import exchange_rate, gain
from lexiseg.runs.own_labels import describe
from lexiseg.scoring.curve_plot import Point, draw_curve
from sky_and_grass import write_folder

TINY = FrozenHeadSettings(backbone="tiny", prior="none", short_side=64, max_long_side=96, penalty=1.0)


@pytest.fixture
def described(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    data = FolderDataset(write_folder(tmp_path / "data", num=14, num_masks=14))
    return describe(data, open_describer(TINY, data.vocabulary), data.vocabulary, TINY), data.vocabulary


def test_regimes_are_measured_with_intervals(described):
    found = exchange_rate(*described, TINY, masks=(2, 50), divisions=2)
    assert [regime.name for regime in found] == ["names", "tags", "2 masks a class", "all masks"]
    by_name = {regime.name: regime for regime in found}
    assert by_name["all masks"].value > by_name["tags"].value >= by_name["names"].value
    assert [regime.images for regime in found][-2:] == [pytest.approx(3, abs=1), 9]
    for regime in found:
        low, high = regime.interval
        assert 0 <= low <= regime.value <= high <= 1
    best, by, (low, high) = gain(found)
    assert best.name == "2 masks a class"
    assert low <= by <= high
    again = exchange_rate(*described, TINY, masks=(2, 50), divisions=2)
    assert [regime.value for regime in again] == [regime.value for regime in found]


@pytest.mark.parametrize(
    ("num_alike", "smoothing", "is_smoothed"), [(32, 0.05, True), (0, 0.05, False), (32, 0.0, False)]
)
def test_heads_are_judged_as_fit_makes_them(described, num_alike, smoothing, is_smoothed):
    settings = replace(TINY, smoothing=smoothing)
    plain = exchange_rate(*described, TINY, masks=(2,), divisions=1)
    found = exchange_rate(*described, settings, num_alike=num_alike, masks=(2,), divisions=1)
    assert (found[-1].values != plain[-1].values).any() == is_smoothed


def test_few_labelled_images_are_refused(described):
    images, vocabulary = described
    with pytest.raises(InputError, match=r"found 3 images with masks.*expected 12 or more"):
        exchange_rate(images[:3], vocabulary, TINY)


def test_a_curve_is_drawn_with_its_levels():
    points = [
        Point(name="tags", value=0.2, low=0.1, high=0.3, is_level=True),
        Point(name="10 masks", value=0.3, low=0.25, high=0.35),
        Point(name="all", value=0.4, low=0.35, high=0.5),
    ]
    image = draw_curve("what labels are worth", points)
    assert image.size == (900, 520)
    assert len(image.getcolors(1 << 20)) > 4
