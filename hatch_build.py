"""The addresses of the package's metadata (`[project.urls]`), which are known only where a release is published.

    GENAUDIT_REPOSITORY=https://HOST/OWNER/NAME python -m build      # or: make release REPOSITORY=https://HOST/OWNER/NAME

Without it the metadata holds none. A wheel that is built from a source distribution has that one's addresses.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "GENAUDIT_REPOSITORY"


def urls(repository: str) -> dict[str, str]:
    """Of a repository at one of the usual hosts, by what they lead to."""
    root = repository.rstrip("/").removesuffix(".git")
    if not root.startswith("https://"):
        raise ValueError(f"{VARIABLE} must be the repository's address, https://HOST/OWNER/NAME, got {repository!r}")
    return {"Repository": root, "Issues": f"{root}/issues", "Changelog": f"{root}/blob/main/CHANGELOG.md"}


class Urls(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        if repository := os.environ.get(VARIABLE):
            metadata["urls"] = urls(repository)
