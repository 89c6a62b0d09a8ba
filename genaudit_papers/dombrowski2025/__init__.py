"""Published numbers, notes and recipes of one paper.

Dombrowski, Zhang, Cechnicka, Reynaud and Kainz, Image Generation Diversity Issues and How to Tame Them, CVPR 2025,
supplementary material.
"""
