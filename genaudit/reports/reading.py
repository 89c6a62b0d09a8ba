"""Reads a finished run's report.json and says in a sentence what is wrong where it is not one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genaudit.errors import UserError
from genaudit.reading import read_json
from genaudit.reports.report import OLDER, SCHEMA


def report_file(path: Path) -> Path:
    """The report.json of a run folder, or the file itself.

    Raises:
        UserError: there is none.
    """
    if path.is_dir():
        file = path / "report.json"
        if not file.exists():
            raise UserError(f"{path} holds no report.json; a run folder that genaudit evaluate wrote is needed.")
        return file
    if not path.exists():
        raise UserError(f"{path} does not exist; give a run folder or its report.json.")
    return path


def read_report(path: Path) -> dict[str, Any]:
    """A report.json that fits this version's schema.

    Raises:
        UserError: it cannot be read, is not JSON, has another schema version or does not fit the schema.
    """
    from importlib.resources import files

    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        document = read_json(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a JSONDecodeError and a UnicodeDecodeError are ValueErrors
        raise UserError(f"{path} is not JSON: {error}. It should be a report.json that genaudit wrote.") from error
    version = document.get("schema") if isinstance(document, dict) else None
    if version not in (SCHEMA, *OLDER):
        found = f"has the schema {version!r}" if version else "has no key 'schema'"
        raise UserError(f"{path} {found}; this version of genaudit compares reports of the schema {SCHEMA!r}.")
    schema = json.loads((files("genaudit.reports") / "schema.json").read_text(encoding="utf-8"))
    flaw = best_match(Draft202012Validator(schema).iter_errors(document))
    if flaw is not None:
        place = ".".join(map(str, flaw.absolute_path)) or "the top level"
        message = flaw.message if len(flaw.message) <= 200 else flaw.message[:200] + " ..."
        raise UserError(f"{path} does not fit the schema {version!r}: at {place}: {message}.")
    return dict(document)
