"""CLIP-to-Seg Distillation: masks for some classes, only names for the others, a plain segmenter in the end.

Anonymous ICLR 2025 submission; Chen, Quan, Zhang, Zheng, Deguchi, Murase, IEEE TCSVT 2025. No code was
published: a reconstruction from its supplement, its abstracts and summaries of its precursor CLIP-ZSS
(arXiv 2310.02296). See docs/methods/clip_to_seg.md.
"""
