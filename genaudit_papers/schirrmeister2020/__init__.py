"""Published numbers, notes and recipes of one paper.

Schirrmeister, Zhou, Ball and Zhang, Understanding Anomaly Detection with Deep Invertible Networks, NeurIPS 2020,
supplementary material.
"""
