"""A network that cannot be reached is said once, by the library's own messages."""

from __future__ import annotations

import logging

import pytest

from genaudit.backbones.downloads import HUB, said_once
from genaudit.backbones.timm_model import TimmModel
from genaudit.errors import UserError


class Said(logging.Handler):
    """Keeps what a logger says."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_tries_again_are_said_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own retries, against an address where nobody listens."""
    hub = pytest.importorskip("huggingface_hub.utils._http")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    said, logger = Said(), logging.getLogger(HUB)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    hub.close_session()  # one of its own, which may ask this machine
    monkeypatch.setattr(logger, "handlers", [said])
    with said_once():
        for name in ("model.safetensors", "pytorch_model.bin"):
            with pytest.raises(Exception, match="refused"):
                hub.http_backoff("GET", f"http://127.0.0.1:9/{name}", max_retries=3)
    hub.close_session()
    assert len([text for text in said.texts if "thrown while requesting" in text]) == 1
    assert len([text for text in said.texts if text.startswith("Retrying in")]) == 1


def test_afterwards_the_library_says_what_it_likes(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("genaudit.tests.downloads")
    for _ in range(2):
        with said_once(logger.name):
            logger.warning("Retrying in %ds [Retry %d/5].", 1, 1)
            logger.warning("Retrying in %ds [Retry %d/5].", 2, 2)
    logger.warning("Retrying in 3s [Retry 3/5].")
    assert [record.getMessage()[:14] for record in caplog.records] == [
        "Retrying in 1s",
        "Retrying in 1s",
        "Retrying in 3s",
    ]


def test_every_file_is_asked_for_within_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import huggingface_hub

    filters = []

    def download(*_: object, **__: object) -> str:
        filters.append(len(logging.getLogger(HUB).filters))
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    with pytest.raises(UserError, match="not on this machine"):
        TimmModel("resnet18").load_weights()
    assert filters
    assert set(filters) == {len(logging.getLogger(HUB).filters) + 1}
