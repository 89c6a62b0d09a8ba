"""A verb's configuration from Python values: overrides in Hydra's grammar, composed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from genaudit import composing
from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.hydra_errors import explain
from genaudit.hydra_words import in_grammar
from genaudit.network_words import with_networks
from genaudit.tasks.run.keys import check
from genaudit.tasks.run.result_names import metrics_with


def compose(verb: str, overrides: Sequence[str], config_dir: str | None = None) -> Any:
    """A verb's configuration with overrides in Hydra's grammar.

    Raises:
        genaudit.UserError: an unknown key or option, or a value that a key cannot have.
    """

    overrides = with_networks(overrides, verb)
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    arguments = ["--config-dir", config_dir, *overrides] if config_dir else list(overrides)
    try:
        cfg = composing.compose(config_folder(), verb, overrides, config_dir)
    except Exception as error:  # what is not about the configuration comes out of `explain` as it went in
        raise UserError(explain(error, verb, arguments, config_folder(), metrics_with)) from error
    check(verb, cfg, keys)
    return cfg


def described(source: Any) -> Any:
    """A source as the report's configuration names it: paths as they are, objects by type and shape."""

    if isinstance(source, (str, os.PathLike)):
        return str(source)
    if isinstance(source, (list, tuple)) and all(isinstance(item, (str, os.PathLike)) for item in source):
        return [str(item) for item in source]
    shape = getattr(source, "shape", None)
    kind = getattr(source, "__name__", None) or type(source).__name__
    return f"{kind} {tuple(shape)}" if shape is not None else f"{kind}"


def as_override(value: Any) -> str:
    """A Python value in Hydra's override grammar; strings arrive as they are, whatever they hold."""
    return in_grammar(value)
