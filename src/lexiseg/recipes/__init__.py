"""Complete settings of runs and of our own models: one file a method."""
