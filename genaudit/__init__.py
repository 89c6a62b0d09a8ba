"""genaudit audits generative image models: quality, diversity, memorisation, likelihood."""

__version__ = "0.1.0"
