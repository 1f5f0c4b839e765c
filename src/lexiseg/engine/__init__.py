"""The training engine: a thin layer on accelerate and torch.distributed."""
