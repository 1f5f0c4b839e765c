"""ConSE: read an image as a mixture of ImageNet's thousand names, and compare names with words.

``settings`` holds the choices, ``segmenter`` is the model, ``evidence`` says which names decided at a pixel.
"""
