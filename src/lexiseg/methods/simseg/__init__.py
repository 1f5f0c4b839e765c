"""SimSeg: an image encoder and a text encoder trained on captions alone, with local pooling (LoDA).

After Yi et al., "A Simple Framework for Text-Supervised Semantic Segmentation", CVPR 2023. We could read its
supplement and its abstract; docs/methods/simseg.md lists what is stated there and which readings are ours.

``settings`` holds the choices, ``text_encoder`` has LoDA, ``class_masks`` turns scores into masks, ``segmenter`` is
the model.
"""
