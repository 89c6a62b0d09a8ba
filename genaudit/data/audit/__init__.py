"""May these sets be compared? What the bytes and pixels of the roles say, and where they differ."""

from genaudit.data.audit.finding import CODES, Finding

__all__ = ["CODES", "Finding"]
