"""On one device nothing is gathered; two devices are tested with the engine."""

import torch

from lexiseg.ops.gather import gather_batch, mean_over_devices, num_devices


def test_one_device_keeps_its_rows_and_its_counts():
    rows = torch.rand(3, 2, requires_grad=True)
    assert num_devices() == 1
    assert gather_batch(rows) is rows
    count = mean_over_devices(rows.sum())
    assert count == rows.sum()
    assert not count.requires_grad
