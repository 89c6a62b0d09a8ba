"""What is said while weights are fetched: a library's notes that it tries again, once each and not at every try."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

HUB = "huggingface_hub.utils._http"  # it warns of every request that fails, of every file and try


class _Once(logging.Filter):
    """Lets the first record of each kind pass: addresses, numbers and what is quoted make no kind of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        kind = re.sub(r"https?://\S+|'[^']*'|\"[^\"]*\"|\d+(\.\d+)?", "", record.getMessage())
        new = kind not in self._known
        self._known.add(kind)
        return new


@contextlib.contextmanager
def said_once(name: str = HUB) -> Iterator[None]:
    """While files are fetched, a logger repeats nothing."""
    logger, once = logging.getLogger(name), _Once()
    logger.addFilter(once)
    try:
        yield
    finally:
        logger.removeFilter(once)
