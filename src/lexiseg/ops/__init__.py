"""Pure functions on tensors and strings, without parameters."""
