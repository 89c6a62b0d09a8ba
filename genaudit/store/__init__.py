"""The row store and the measuring loop."""

from genaudit.store.rows import Rows
from genaudit.store.store import Engine, Measured, Store

__all__ = ["Engine", "Measured", "Rows", "Store"]
