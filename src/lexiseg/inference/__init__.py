"""The one way from an image and words to a label map, and its evaluation."""
