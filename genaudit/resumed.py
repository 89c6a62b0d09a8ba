"""What must be the same where a training resumes: one comparison and one sentence for every trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaudit.errors import UserError


def check_same(now: Mapping[str, Any], then: Any, *, renamed: Mapping[str, str] | None = None) -> None:
    """Compares settings with those of a checkpoint; ones that only the checkpoint knows are of no account.

    Args:
        now: the settings of this run. then: those in the checkpoint.
        renamed: names of older versions => those of today.

    Raises:
        UserError: names what differs, or the checkpoint holds no settings.
    """
    if not isinstance(then, Mapping):
        raise UserError("the checkpoint is not one of this kind of training")
    then = {(renamed or {}).get(key, key): value for key, value in then.items()}
    changed = sorted(key for key in now if now[key] != then.get(key))
    if changed:
        listed = ", ".join(f"{key} (now {now[key]}, then {then.get(key)})" for key in changed)
        raise UserError(f"the checkpoint was made with other settings: {listed}")
