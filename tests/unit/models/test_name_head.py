import pytest
import torch
from safetensors.torch import save

from lexiseg.core.errors import CheckpointError
from lexiseg.models.name_head import (
    MAP_LENGTH,
    NameHead,
    NetworkMaps,
    load_name_head,
    pack_name_head,
    patch_features,
)
from lexiseg.ops.ridge import solve_ridge

IMAGES = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
MAPS = NetworkMaps(
    middle=torch.rand(1, 6, 2, 4, generator=torch.Generator().manual_seed(1)),
    last=torch.rand(1, 8, 1, 2, generator=torch.Generator().manual_seed(2)),
)
FEATURES = 6 + 8 + 5 + 4


def test_a_patch_is_two_maps_of_equal_length_appearance_and_place():
    found = patch_features(IMAGES, MAPS, (2, 4))
    assert found.shape == (1, 8, FEATURES)
    for part in (found[..., :6], found[..., 6:14]):
        torch.testing.assert_close(part.norm(dim=-1), torch.full((1, 8), MAP_LENGTH))
    torch.testing.assert_close(
        found[0, 0, :6], MAP_LENGTH * MAPS.middle[0, :, 0, 0] / MAPS.middle[0, :, 0, 0].norm()
    )
    place = found[0, :, -4:].reshape(2, 4, 4)
    torch.testing.assert_close(place, place.flip(1))  # left and right are alike
    assert place[:, :, -1].eq(1).all()
    assert place[0, 0, 2] == 0.25**2  # height of the first of two rows, squared


def test_a_window_is_described_by_its_place_in_the_image_or_by_the_mean_of_all_places():
    whole = patch_features(IMAGES, MAPS, (2, 4))[..., -5:].reshape(2, 4, 5)  # height is the first of these
    upper = torch.tensor([[0.0, 0.5, 0.0, 1.0]])
    found = patch_features(IMAGES, MAPS, (2, 4), upper)[..., -5:].reshape(2, 4, 5)
    assert found[:, 0, 0].tolist() == [0.125, 0.375]
    torch.testing.assert_close(found[..., 1:3], whole[..., 1:3])
    unknown = patch_features(IMAGES, MAPS, (2, 4), torch.full((1, 4), torch.nan))[0, :, -5:]
    torch.testing.assert_close(unknown, torch.tensor([0.5, 0.5, 1 / 3, 1 / 3, 1.0]).expand(8, 5))


def test_the_ridge_is_the_least_squares_solution_of_the_padded_problem():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(40, width, generator=generator, dtype=torch.float64) for width in (7, 3))
    padded = torch.cat([x, 2.0 * torch.eye(7, dtype=torch.float64)])  # penalty 4
    expected = torch.linalg.lstsq(padded, torch.cat([y, torch.zeros(7, 3, dtype=torch.float64)])).solution
    torch.testing.assert_close(solve_ridge(x.T @ x, x.T @ y, 4.0), expected)


def test_what_the_head_does_not_know_it_keeps_back():
    head = NameHead(["cat", "sky"], torch.zeros(FEATURES, 2), num_things=1, temperature=0.1, none_score=0.4)
    posterior = head.posterior(torch.tensor([[1.0, 0.0], [0.4, 0.4], [0.0, 0.0]]))
    none = 1 - posterior.sum(dim=-1)
    assert posterior[0, 0] > 0.99
    torch.testing.assert_close(none[1], torch.tensor(1 / 3))
    assert none[2] > 0.9


def test_a_file_gives_back_the_head_and_equal_heads_give_equal_bytes(tmp_path):
    weight = torch.randn(FEATURES, 2, generator=torch.Generator().manual_seed(3))
    content = pack_name_head(["cat", "sky"], weight, num_things=1, temperature=0.1, none_score=0.45)
    assert content == pack_name_head(
        ["cat", "sky"], weight.clone(), num_things=1, temperature=0.1, none_score=0.45
    )
    path = tmp_path / "head.safetensors"
    path.write_bytes(content)
    head = load_name_head(path)
    assert (head.names, head.temperature, head.none_score) == (("cat", "sky"), 0.1, 0.45)
    assert torch.equal(head.weight, weight.half().float())
    assert head(IMAGES, MAPS, (2, 4)).shape == (1, 8, 2)


@pytest.mark.parametrize(
    "content", [save({"weight": torch.zeros(3, 1)}), save({"other": torch.zeros(1)}), b"text"]
)
def test_a_file_that_is_no_head_is_refused(tmp_path, content):
    path = tmp_path / "head.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no head of known names"):
        load_name_head(path)
