"""RIM: names only, no training; regions of an image are compared with reference images.

After Wang et al., "Image-to-Image Matching via Foundation Models: A New Perspective for
Open-Vocabulary Semantic Segmentation", CVPR 2024. We could read the supplement and the abstract, not
the method section: **the matching formula here is a reconstruction** (docs/methods/rim.md lists what is
stated and what is ours).

``references`` makes and keeps the bank of reference images, ``segmenter`` is the method,
``explanation`` shows why a region got its label.
"""
