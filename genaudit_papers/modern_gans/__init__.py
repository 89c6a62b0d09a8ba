"""Published numbers, notes and recipes of one paper.

Intriguing Properties of Modern GANs, under review (anonymous).
"""
