"""Pictures, label files and data sets."""
