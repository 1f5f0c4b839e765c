"""Random changes to training pictures: each a function of a picture and a random generator."""
