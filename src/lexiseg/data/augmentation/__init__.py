"""Random changes to training images: each a function of an image and a random generator."""
