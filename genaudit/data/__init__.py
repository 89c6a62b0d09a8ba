"""Images of every source as lazy, content-addressed sets. See `open_images` and `inspect`."""

from genaudit.data.features import FeatureSet, Moments
from genaudit.data.image_set import DamagedImage, ImageSet, OnError, Progress, Skipped
from genaudit.data.inspection import Inspection, inspect
from genaudit.data.resize import ResizeRecipe
from genaudit.data.sources import Source, open_images

__all__ = [
    "DamagedImage",
    "FeatureSet",
    "ImageSet",
    "Inspection",
    "Moments",
    "OnError",
    "Progress",
    "ResizeRecipe",
    "Skipped",
    "Source",
    "inspect",
    "open_images",
]
