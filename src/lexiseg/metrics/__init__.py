"""Counting, scores and reports."""
