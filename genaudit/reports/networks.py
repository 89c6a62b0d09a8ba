"""The networks of a run, which stand above its results: name, size, preprocessing, and what they make of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genaudit.reports.report import Report, ReportWarning

OTHER_NETWORK = "another-network"  # the code of warnings that stand with the networks and not in the list


def network_lines(report: Report) -> list[str]:
    """Each network that was used, how images were prepared for it and what ran it: a line for each preparation."""
    engines: dict[str, list[str]] = {}
    for use in report.measures.values():
        if "preprocessing" in use.about:
            network = f"{use.about['feature_model']}: {use.about['preprocessing']}"
            engines.setdefault(network, []).append(_run_by(use.about))
    return [network + _joined(run_by) for network, run_by in engines.items()]


def _joined(run_by: list[str]) -> str:
    """What runs a network that several measures use; nothing where it is PyTorch as ever."""
    named = [each for each in dict.fromkeys(run_by) if each != TORCH]
    plain = TORCH in run_by and not any(each.startswith(TORCH) for each in named)
    return f", run by {' and '.join([*named, *[TORCH] * plain])}" if named else ""


ENGINES = {"openvino": "OpenVINO", "torch.compile": "torch.compile"}
TORCH = "PyTorch"


def _run_by(about: Mapping[str, Any]) -> str:
    if "engine" in about:
        return ENGINES.get(about["engine"], str(about["engine"]))
    return f"{TORCH} ({about['engine_note']})" if "engine_note" in about else TORCH


def features_of(report: Mapping[str, Any], measure: str) -> str | None:
    """What identifies the features of a measure in report.json, whichever engine ran the network; None: not known."""
    use = report["measures"].get(measure, {})
    found: str | None = use.get("about", {}).get("features", use.get("fingerprint"))
    return found


def machine_line(report: Report) -> str:
    """Where and how exactly the networks ran: `cuda:0 (NVIDIA H200) · float32`."""
    device, name = (str(report.environment.get(key) or "") for key in ("device", "device_name"))
    shown = f"{device} ({name})" if name and device not in ("", "cpu") else device
    return " \N{MIDDLE DOT} ".join(filter(None, (shown, str(report.config.get("precision") or ""))))


def other_networks(report: Report) -> list[ReportWarning]:
    """The warnings that say which metrics are not what their authors define, because of the network."""
    return [each for each in report.warnings if each.code == OTHER_NETWORK]
