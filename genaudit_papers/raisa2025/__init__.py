"""Published results and the recipe of one paper: sanity checks of fidelity and diversity metrics.

Räisä, van Breugel, van der Schaar. Position: all current generative fidelity and diversity metrics are flawed. ICML
2025.
"""
