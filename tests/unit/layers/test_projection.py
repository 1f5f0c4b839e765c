import torch

from lexiseg.layers.projection import BatchNorm, Projection


def test_batch_norm_is_torch_s_in_training_and_in_evaluation():
    ours, theirs = BatchNorm(5), torch.nn.BatchNorm1d(5)
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    torch.testing.assert_close(ours(rows), theirs(rows))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(rows[:2]), theirs.eval()(rows[:2]))


def test_a_pass_over_constants_leaves_the_running_statistics():
    """Gradient caching compares a batch twice; counted twice, statistics would follow the last batch too fast."""
    projection = Projection(4, 6, 3, "batch").train()
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    before = projection[1].running_mean.clone()
    once = projection(rows)
    assert torch.equal(projection[1].running_mean, before)
    again = projection(rows.requires_grad_())
    assert torch.equal(once, again)
    assert not torch.equal(projection[1].running_mean, before)
