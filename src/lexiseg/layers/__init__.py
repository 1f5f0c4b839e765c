"""Trainable parts that networks and methods are put together from."""
