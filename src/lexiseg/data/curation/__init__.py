"""Curation of captions: vectors of images on disk, concepts in captions, curated records, drawing from them."""
