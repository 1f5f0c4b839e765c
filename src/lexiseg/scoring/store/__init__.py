"""The predictions store: written by prediction, read and counted by scoring."""
