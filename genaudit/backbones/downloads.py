"""Weights that are known by address and SHA-256, and what is said while weights are fetched.

A library's notes that it tries again are said once each and not at every try.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genaudit.backbones.weight_files import hub_checkpoints
from genaudit.errors import UserError
from genaudit.output import told
from genaudit.reading import sha256_of_file
from genaudit.remote import fetch as remote
from genaudit.remote.address import shown

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


@dataclass(frozen=True)
class Published:
    """A weight file that its authors publish.

    Attributes:
        addresses: of the file, the first and its mirrors. sha256: of the file, or its first digits.
        names: under which torch.hub and other tools keep it. size: in bytes, where it is known.
    """

    addresses: tuple[str, ...]
    sha256: str
    names: tuple[str, ...] = ()
    size: int | None = None

    @classmethod
    def of_torch(cls, url: str) -> Published:
        """A file whose name ends with the first digits of its SHA-256, as torch.hub's do: `resnet50-11ad3fa6.pth`."""
        name = url.rpartition("/")[2]
        found = re.search(r"-([0-9a-f]{8,64})\.", name)
        return cls((url,), found[1] if found else "", (name,))

    def find(self) -> Path | None:
        """The file on this machine: in torch.hub's folder, or where it was fetched before. It is not verified here."""
        for name in self.names:
            if (hub_checkpoints() / name).is_file():
                return hub_checkpoints() / name
        return remote.find(self.addresses, self.sha256) if self.sha256 else None

    def get(self, what: str, key: str, *, offline: bool) -> Path:
        """The file, verified; fetched where it is not here.

        Args:
            what: for messages, "feature_model fid_inception". key: that takes a file in its place.

        Raises:
            UserError: it is another file, or is not here and cannot be had.
        """
        here = self.find()
        if here is not None:
            found = sha256_of_file(here)
            if not found.startswith(self.sha256):
                raise UserError(
                    f"{what}: {here} is not the published file: its SHA-256 is {found}, not {self.sha256}. Remove it "
                    f"to fetch the right one; where it is meant, give {key}={here}"
                )
            return here
        if remote.is_offline(offline):
            raise UserError(
                f"{what}: its weights are not on this machine (offline=true or HF_HUB_OFFLINE=1). Looked for "
                f"{' and '.join(self.names)} in {hub_checkpoints()}. Give {key}=FILE, or run once with a network "
                f"connection: they are fetched from {shown(self.addresses[0])}"
            )
        told.note(f"{what}: fetches its weights from {shown(self.addresses[0])}")
        try:
            return remote.fetch(self.addresses, what=what, sha256=self.sha256, size=self.size).path
        except UserError as error:
            raise UserError(f"{error} ({key}=FILE)") from None
