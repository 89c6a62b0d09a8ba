"""Published numbers, notes and recipes of one paper.

Tuluptceva, Bakker, Fedulova and Konushin, Perceptual Image Anomaly Detection, 2019, with its supplementary material.
"""
