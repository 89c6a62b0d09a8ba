"""Published numbers, notes and recipes of one paper.

Hwang, Lee and Lee, Anomaly Score, CVPR 2024, supplementary material.
"""
