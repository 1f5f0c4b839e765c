"""GroupViT: an image encoder that groups patches into segments by itself, trained on captions alone.

Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022.

``settings`` holds the choices, ``affinity`` names segments, ``stitching`` brings windows together, ``segmenter``
is the model, ``explanation`` shows the segments of an image.
"""
