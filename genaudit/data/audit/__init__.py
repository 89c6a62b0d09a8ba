"""May these sets be compared? What the bytes and pixels of the roles say, and where they differ."""

from genaudit.data.audit.finding import Finding

__all__ = ["Finding"]
