"""Runs: load a model, train a recipe into a folder, re-train, make the tables of papers again."""
