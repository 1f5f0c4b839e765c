import pytest
import torch

from lexiseg.ops.position_table import resize_position_table


@pytest.mark.parametrize("resampling", ["bicubic", "antialiased"])
def test_at_its_own_grid_the_table_comes_back_bit_for_bit(resampling):
    table = torch.randn(5, 7, 3)
    assert torch.equal(resize_position_table(table, (5, 7), resampling), table.reshape(35, 3))


@pytest.mark.parametrize("resampling", ["bicubic", "antialiased"])
def test_a_transposed_grid_is_not_mistaken_for_the_own_one(resampling):
    table = torch.randn(5, 7, 3)
    resized = resize_position_table(table, (7, 5), resampling)
    assert resized.shape == (35, 3)
    assert not torch.allclose(resized, table.reshape(35, 3))


@pytest.mark.parametrize("resampling", ["bicubic", "antialiased"])
def test_rows_stay_rows_and_columns_stay_columns(resampling):
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    resized = resize_position_table(torch.stack([rows, columns], dim=-1), (8, 6), resampling).reshape(8, 6, 2)
    assert resized[..., 0].std(dim=1).max() < 1e-5
    assert resized[..., 1].std(dim=0).max() < 1e-5
    assert (resized[1:, :, 0] > resized[:-1, :, 0]).all()


def test_antialiasing_shows_when_the_grid_shrinks():
    table = torch.zeros(9, 9, 1)
    table[::2] = 1.0
    averaged = resize_position_table(table, (3, 3), "antialiased")
    assert ((averaged > 0.2) & (averaged < 0.8)).all()
    assert not torch.allclose(averaged, resize_position_table(table, (3, 3), "bicubic"), atol=0.1)
