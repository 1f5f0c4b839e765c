import torch

from lexiseg.layers.fused_head import FusedHead


def test_maps_of_all_sizes_decide_at_the_finest():
    torch.manual_seed(0)
    head = FusedHead((4, 6, 8), width=16, outputs=5).eval()
    maps = [torch.randn(2, channels, *size) for channels, size in ((4, (8, 10)), (6, (4, 5)), (8, (2, 3)))]
    result = head(maps)
    assert result.shape == (2, 5, 8, 10)
    for level in range(3):
        changed = [each.clone() for each in maps]
        changed[level][0] += 1
        other = head(changed)
        assert not torch.allclose(other[0], result[0])
        torch.testing.assert_close(other[1], result[1])


def test_one_map_is_enough():
    assert FusedHead((4,), width=8, outputs=3)([torch.randn(1, 4, 3, 3)]).shape == (1, 3, 3, 3)
