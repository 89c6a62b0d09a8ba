"""The row store and the measuring loop."""

from genaudit.store.measuring import Engine
from genaudit.store.rows import Rows
from genaudit.store.store import Measured, Store

__all__ = ["Engine", "Measured", "Rows", "Store"]
