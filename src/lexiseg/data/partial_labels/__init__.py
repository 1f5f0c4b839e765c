"""Masks for some classes, tags for the others: data as weak-shot training may see them."""
