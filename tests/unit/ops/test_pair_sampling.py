import torch
from hypothesis import given
from hypothesis import strategies as st

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.ops.pair_sampling import draw_labelled_points, draw_points, look_up


def region_of(size: int, num_pixels: int = 40) -> torch.Tensor:
    region = torch.zeros(1, num_pixels, dtype=torch.bool)
    region[0, torch.randperm(num_pixels)[:size]] = True
    return region


def test_a_small_region_is_exhausted_before_other_pixels_are_drawn():
    # T10 of SimFormer's notes
    region = region_of(5)
    points = draw_points(region, 8)
    assert region[0, points[0]].sum() == 5
    assert len(set(points[0].tolist())) == 8


def test_a_large_region_gives_all_points():
    region = region_of(8)
    assert region[0, draw_points(region, 8)[0]].all()


@given(st.integers(0, 40), st.integers(0, 30), st.integers(1, 40))
def test_padding_is_drawn_only_when_nothing_else_is_left(in_region, padded, count):
    padding = torch.zeros(1, 40, dtype=torch.bool)
    padding[0, 40 - padded :] = True
    region = region_of(in_region) & ~padding
    drawn = draw_points(region, count, excluded=padding)[0]
    assert padding[0, drawn].sum() == max(0, count - (40 - padded))
    assert region[0, drawn].sum() == min(count, int(region.sum()))


def test_every_pixel_of_a_region_is_drawn_sometimes():
    region = region_of(10)
    drawn = torch.cat([draw_points(region, 2)[0] for _ in range(200)]).unique()
    assert len(drawn) == 10


def labelled(*parts: tuple[int, int]) -> torch.Tensor:
    return torch.cat([torch.full((1, size), label) for label, size in parts], dim=1)


def no_padding(labels: torch.Tensor) -> torch.Tensor:
    return torch.zeros(2, *labels.shape, dtype=torch.bool)


def test_four_fifths_of_the_points_are_of_a_class_that_both_images_show():
    first = labelled((0, 30), (1, 30), (IGNORE_INDEX, 40))
    second = labelled((1, 30), (2, 30), (IGNORE_INDEX, 40))
    points = draw_labelled_points(first, second, 10, num_classes=3, padding=no_padding(first))
    for labels, drawn in zip((first, second), points, strict=True):
        assert (labels[0, drawn[0, :8]] == 1).all()
        assert (labels[0, drawn[0, 8:]] != 1).all()


def test_images_without_a_common_class_give_points_of_any_class_with_a_mask():
    first, second = labelled((0, 30), (IGNORE_INDEX, 70)), labelled((1, 15), (2, 15), (IGNORE_INDEX, 70))
    points = draw_labelled_points(first, second, 10, num_classes=3, padding=no_padding(first))
    for labels, drawn in zip((first, second), points, strict=True):
        assert (labels[0, drawn[0, :8]] < 3).all()
        assert (labels[0, drawn[0, 8:]] == IGNORE_INDEX).all()


def test_every_common_class_is_taken_sometimes():
    labels = labelled((0, 50), (1, 50))
    taken = set()
    for _ in range(50):
        points, _ = draw_labelled_points(labels, labels, 5, num_classes=2, padding=no_padding(labels))
        taken.add(int(labels[0, points[0, 0]]))
    assert taken == {0, 1}


def test_no_point_is_in_the_padding():
    first = labelled((0, 60), (IGNORE_INDEX, 40))
    padding = no_padding(first)
    padding[:, :, 60:] = True
    points = draw_labelled_points(first, first, 20, num_classes=2, padding=padding)
    for drawn in points:
        assert (drawn < 60).all()
        assert len(set(drawn[0].tolist())) == 20


def test_looking_up_a_pixel_is_sampling_at_its_centre():
    maps = torch.randn(2, 3, 4, 5)
    points = torch.tensor([[0, 19], [7, 12]])
    grid = torch.stack([points % 5 / 4, points // 5 / 3], dim=-1) * 2 - 1
    sampled = torch.nn.functional.grid_sample(maps, grid[:, None], align_corners=True)[:, :, 0]
    torch.testing.assert_close(look_up(maps, points), sampled.mT)
