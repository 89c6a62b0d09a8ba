"""What an image that cannot be used raises."""

from __future__ import annotations


class BadImage(Exception):
    """An image that cannot be used; the text is a predicate ("is empty (0 bytes)") that follows its name."""


class UnusableFile(Exception):
    """Why an array file cannot be used: a predicate that follows its name."""
