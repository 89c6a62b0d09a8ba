"""Images of every source as lazy, content-addressed sets. See `open_images` and `inspect`."""

from genaudit.data.image_set import DamagedImage, FeatureSet, ImageSet, Moments, Skipped
from genaudit.data.resize import Recipe
from genaudit.data.sources import open_images

__all__ = ["DamagedImage", "FeatureSet", "ImageSet", "Moments", "Recipe", "Skipped", "open_images"]
