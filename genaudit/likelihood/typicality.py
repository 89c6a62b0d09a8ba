"""The typicality test beside the likelihoods that it is about; the statistics are `genaudit.stats.typicality`."""

from genaudit.stats.typicality import SIZES, Typicality, estimate_entropy, typical_radius, typicality_test

__all__ = ["SIZES", "Typicality", "estimate_entropy", "typical_radius", "typicality_test"]
