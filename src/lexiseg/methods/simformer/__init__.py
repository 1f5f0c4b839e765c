"""SimFormer: masks for some classes, tags for the others, on MaskFormer.

Chen, Niu, Zhou, Si, Qian, Zhang, "Weak-shot Semantic Segmentation via Dual Similarity Transfer",
NeurIPS 2022. See docs/methods/simformer.md.
"""
