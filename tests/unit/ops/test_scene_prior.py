import pytest
import torch

from lexiseg.ops.scene_prior import SCENE_NAMES, appearance, scene_prior

TOP, BOTTOM = 0.1, 0.9
SMOOTH, ROUGH = 0.0, 0.12


def test_appearance_is_mean_colour_spread_of_lightness_and_height():
    image = torch.zeros(1, 3, 16, 8)
    image[:, 0, :8] = 1.0  # upper patch: plain red
    image[:, :, 8:, ::2] = 1.0  # lower patch: black and white stripes
    look = appearance(image, 8)
    assert look.shape == (1, 2, 5)
    assert look[0, 0].tolist() == pytest.approx([1, 0, 0, 0, 0.25], abs=1e-3)
    assert look[0, 1].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.75], abs=1e-3)


@pytest.mark.parametrize(
    ("colour", "spread", "height", "expected"),
    [
        ((0.45, 0.65, 0.95), SMOOTH, TOP, "sky"),
        ((0.9, 0.9, 0.92), SMOOTH, TOP, "sky"),
        ((0.2, 0.35, 0.1), ROUGH, TOP, "tree"),
        ((0.3, 0.5, 0.15), SMOOTH, BOTTOM, "grass"),
        ((0.1, 0.3, 0.5), SMOOTH, BOTTOM, "water"),
        ((0.93, 0.94, 0.95), SMOOTH, BOTTOM, "snow"),
        ((0.9, 0.75, 0.55), SMOOTH, BOTTOM, "sand"),
        ((0.6, 0.5, 0.4), SMOOTH, 0.3, "wall"),
        ((0.45, 0.3, 0.2), SMOOTH, BOTTOM, "floor"),
        ((0.4, 0.4, 0.4), ROUGH, BOTTOM, "road"),
    ],
)
def test_typical_patches_fit_their_own_kind_best(colour, spread, height, expected):
    fits = scene_prior(torch.tensor([[[*colour, spread, height]]]))[0, 0]
    assert SCENE_NAMES[int(fits.argmax())] == expected


def test_fits_lie_between_0_and_1_also_for_black_and_white():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)[None]
    fits = scene_prior(corners)
    assert fits.shape == (1, 32, len(SCENE_NAMES))
    assert torch.isfinite(fits).all()
    assert fits.min() >= 0
    assert fits.max() <= 1


def test_where_the_height_is_not_known_a_rule_gives_its_mean_over_all_heights():
    colours = torch.rand(1, 50, 4, generator=torch.Generator().manual_seed(0))
    colours[..., 3] /= 5
    heights = (torch.arange(200) + 0.5) / 200
    fits = [
        scene_prior(torch.cat([colours, torch.full((1, 50, 1), height)], dim=-1))
        for height in heights.tolist()
    ]
    unknown = scene_prior(torch.cat([colours, torch.full((1, 50, 1), torch.nan)], dim=-1))
    torch.testing.assert_close(unknown, torch.stack(fits).mean(0), atol=2e-3, rtol=0)


def test_a_window_is_as_high_as_it_lies_in_its_image():
    image = torch.rand(1, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    lower = torch.tensor([[0.5, 1.0, 0.0, 1.0]])
    torch.testing.assert_close(appearance(image[:, :, 16:], 8, lower), appearance(image, 8)[:, 4:])
