"""Losses: pure functions of tensors to scalars."""
