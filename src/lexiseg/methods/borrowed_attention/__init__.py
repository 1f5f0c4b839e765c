"""ProxyCLIP, Trident and CorrCLIP: CLIP's values, mixed by what another network or a cut into regions says is alike.

They share CLIP, a vision model that lends its correlations, and the scores (``base``); each has a file of its own.
"""
