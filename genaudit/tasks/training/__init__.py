"""Fitting density models, PIAD and classifiers: images, keys, watchers, pages."""
