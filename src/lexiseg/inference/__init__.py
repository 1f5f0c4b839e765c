"""The one way from a picture and words to a label map, and its evaluation."""
