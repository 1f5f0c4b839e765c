"""One method a file; each holds what its paper invented."""
