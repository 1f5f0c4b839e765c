"""Images, label files and data sets."""
