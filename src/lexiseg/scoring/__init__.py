"""Counting predictions the way publications do: protocols, the predictions store, scores from it."""
