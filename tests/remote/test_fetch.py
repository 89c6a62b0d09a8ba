"""Files over HTTP against a server of the test's own: whole and verified, or a sentence, and nothing kept."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genaudit.errors import UserError
from genaudit.remote import http
from genaudit.remote.cache import Cache
from genaudit.remote.fetch import Fetched, fetch, find
from tests.remote.server import Site, cut, endless, says, status, unmeasured

CONTENT = bytes(range(256)) * 2000
SHA = hashlib.sha256(CONTENT).hexdigest()
WHAT = "reference"


@pytest.fixture
def address(site: Site) -> str:
    site.files["real.npz"] = CONTENT
    return site.url("real.npz")


def _get(address: str, **keys: object) -> Fetched:
    return fetch([address], what=WHAT, **keys)  # type: ignore[arg-type]


def _files(downloads: Path) -> list[Path]:
    return [path for path in (downloads / "files").rglob("*") if path.is_file() and not path.name.startswith(".")]


def test_a_known_file_is_fetched_once_and_found_without_a_network(site: Site, address: str, downloads: Path) -> None:
    first = _get(address, sha256=SHA, size=len(CONTENT))
    assert first.path.read_bytes() == CONTENT
    assert first.path.name == "real.npz"
    assert first.sha256 == SHA
    again = _get(address, sha256=SHA, offline=True)
    assert again.path == first.path == find([address], SHA)
    assert len(site.requests) == 1
    assert [path.name for path in (downloads / "parts").iterdir()] == []


@given(breaks=st.lists(st.integers(0, len(CONTENT) - 1), max_size=3), validators=st.booleans(), ranges=st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_breaks_off_the_file_is_whole_in_the_end(
    breaks: list[int], validators: bool, ranges: bool, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site.files["real.npz"], site.validators, site.ranges = CONTENT, validators, ranges
    site.faults = [cut(at) for at in breaks]
    cache = Cache(tmp_path_factory.mktemp("cache"))
    got = fetch([site.url("real.npz")], what=WHAT, sha256=SHA, cache=cache)
    assert got.path.read_bytes() == CONTENT


def test_what_broke_off_is_continued_where_it_ended(site: Site, address: str) -> None:
    site.faults = [cut(200_000)]
    assert _get(address).sha256 == SHA
    (_, first), (_, second) = site.requests
    assert "range" not in first
    assert second["range"] == "bytes=200000-"
    assert second["if-range"]


def test_the_next_run_continues_what_an_earlier_one_left(
    site: Site, address: str, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TRIES", 1)
    site.faults = [cut(100_000), cut(0)]
    with pytest.raises(UserError, match="broke off after 100,000 of 512,000 bytes: what has come is kept"):
        _get(address)
    assert _files(downloads) == []
    site.faults = []
    assert _get(address).sha256 == SHA
    assert site.requests[-1][1]["range"] == "bytes=100000-"


def test_a_file_that_changed_between_two_tries_is_not_glued_together(site: Site, address: str) -> None:
    other = CONTENT[::-1]

    def change(handler: object, content: bytes) -> bool:
        site.files["real.npz"] = other
        return False

    site.faults = [cut(100_000), change]
    assert _get(address).path.read_bytes() == other


def test_a_beginning_of_another_file_is_thrown_away_once(site: Site, address: str, downloads: Path) -> None:
    part = Cache().part(address)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    assert _get(address, sha256=SHA).path.read_bytes() == CONTENT
    part.write_bytes(b"x" * (len(CONTENT) + 7))  # longer than the file: the server has nothing beyond it
    (downloads / "files" / SHA / "real.npz").unlink()
    assert _get(address, sha256=SHA).path.read_bytes() == CONTENT
    part.write_bytes(CONTENT)  # whole already
    (downloads / "files" / SHA / "real.npz").unlink()
    assert _get(address, sha256=SHA).path.read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_not_kept(site: Site, address: str, downloads: Path) -> None:
    with pytest.raises(UserError, match=f"its SHA-256 is {SHA}, not {'0' * 64}; it was not kept"):
        _get(address, sha256="0" * 64)
    assert _files(downloads) == []
    assert not Cache().part(address).exists()


def test_a_mirror_serves_where_the_first_fails_or_lies(site: Site, address: str) -> None:
    site.files["false.npz"] = CONTENT[1:]
    addresses = [site.url("missing.npz"), site.url("false.npz"), address]
    got = fetch(addresses, what=WHAT, sha256=SHA)
    assert got.address == address
    assert got.path.name == "missing.npz"  # named after the first: the ending says the kind
    assert find(addresses, SHA) == got.path


def test_every_address_that_failed_is_in_the_sentence(site: Site) -> None:
    with pytest.raises(UserError) as caught:
        fetch([site.url("a.npz"), site.url("b.npz")], what=WHAT, sha256=SHA)
    assert str(caught.value).startswith(WHAT)
    assert str(caught.value).count("answers 404 (Not Found)") == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "requests", "said"),
    [
        (status(500), 4, r"answers 500"),
        (status(503, Retry_After="0"), 4, r"answers 503"),
        (status(403), 1, r"answers 403 \(Forbidden\)"),
        (status(206, Content_Range="bytes 5-9/10"), 4, "continues at another place"),
        (status(204), 1, "holds no file"),
        (says(b"x", Content_Encoding="gzip"), 1, "packed"),
        (status(302, Location="file:///etc/passwd"), 1, "not allowed"),
        (status(302, Location="ftp://example.org/x"), 1, "not followed"),
        (unmeasured, 1, "does not say how long"),
        (endless, 1, "more than the 1,000,000 bytes"),
    ],
)
def test_servers_faults_end_in_one_sentence(
    fault: object, requests: int, said: str, site: Site, address: str, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 1_000_000)
    site.faults = [fault] * 9  # type: ignore[list-item]
    with pytest.raises(UserError, match=said):
        _get(address)
    assert len(site.requests) == requests
    assert _files(downloads) == []


def test_a_server_that_errs_now_and_then_is_asked_again(site: Site, address: str) -> None:
    site.faults = [status(503, Retry_After="0"), status(429), cut(3), None]
    assert _get(address).sha256 == SHA


def test_sizes_are_bounded_before_anything_comes(
    site: Site, address: str, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="has a file of 512,000 bytes, not of 5"):
        _get(address, sha256=SHA, size=5)
    monkeypatch.setattr(http, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="more than the 1,000 that are fetched"):
        _get(address)
    monkeypatch.undo()
    monkeypatch.setattr(http, "ROOM", 1 << 60)
    with pytest.raises(UserError, match="has room for 0"):
        fetch([address], what=WHAT, cache=Cache(downloads))
    assert not Cache(downloads).part(address).exists()


def test_a_connection_that_drips_is_given_up(site: Site, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SLOWEST", (1 << 60, 1e-9))  # as if a minute had passed with each block
    monkeypatch.setattr(http, "_BLOCK", 1000)
    with pytest.raises(UserError, match=r"brought [\d,]+ bytes in 0 seconds"):
        _get(address)


def test_without_a_network_the_sentence_says_what_to_do(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="cannot be reached \\(Connection refused\\): fetch it yourself"):
        _get("http://127.0.0.1:9/real.npz")
    with pytest.raises(UserError, match=r"cannot be reached \(.+\)"):
        _get("http://nowhere.invalid/real.npz")
    with pytest.raises(UserError, match="not on this machine \\(offline=true"):
        _get(site.url("real.npz"), offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        _get(site.url("real.npz"))
    assert site.requests == []


def test_what_is_trusted_on_first_use_must_stay_that_file(site: Site, address: str, downloads: Path) -> None:
    first = _get(address, first_use=True)
    assert first.first_use
    again = _get(address, first_use=True)
    assert not again.first_use
    assert again.since == first.since != ""
    assert len(site.requests) == 1
    for path in _files(downloads):
        path.unlink()
    site.files["real.npz"] = CONTENT[:-1]
    with pytest.raises(UserError, match="trusted on first use") as caught:
        _get(address, first_use=True)
    record = Cache().record_path(address)
    assert str(record) in str(caught.value)
    assert _files(downloads) == []
    site.files["real.npz"] = CONTENT
    assert _get(address, first_use=True).sha256 == SHA
    record.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):  # not trusted anew
        _get(address, first_use=True)


def test_other_addresses_are_asked_whether_they_changed(site: Site, address: str) -> None:
    assert _get(address).note == ""
    assert _get(address).note == ""
    assert site.requests[-1][1]["if-none-match"]
    site.files["real.npz"] = CONTENT[::-1]
    changed = _get(address)
    assert changed.path.read_bytes() == CONTENT[::-1]
    assert "has changed since" in changed.note
    site.faults = [status(500)] * 4
    kept = _get(address)
    assert kept.path == changed.path
    assert "answers 500" in kept.note
    assert "the copy of" in kept.note
    assert _get(address, offline=True).path == changed.path


def test_a_kept_file_that_was_altered_is_noticed(site: Site, address: str) -> None:
    path = _get(address, sha256=SHA).path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="not on this machine"):
        _get(address, sha256=SHA, offline=True)
    assert _get(address, sha256=SHA).path.read_bytes() == CONTENT
    os.utime(path)  # only touched: it is hashed and found whole
    assert _get(address, sha256=SHA, offline=True).path == path


def test_equal_content_of_two_addresses_is_kept_once(site: Site, address: str, downloads: Path) -> None:
    site.files["copy.npz"] = CONTENT
    first, second = _get(address, sha256=SHA).path, _get(site.url("copy.npz"), sha256=SHA).path
    assert first.name == "real.npz"
    assert second.name == "copy.npz"
    assert first.samefile(second)
    assert len(site.requests) == 1  # what is known by its hash need not be asked for


def test_several_processes_fetch_a_file_once(site: Site, address: str) -> None:
    got: list[Fetched] = []
    threads = [threading.Thread(target=lambda: got.append(_get(address, sha256=SHA))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.path for each in got} == {got[0].path}
    assert len(got) == 4
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "address", ["https:///x.npz", "https://user:secret@example.org/x", "https://exa mple.org/x", "https://h:port/x"]
)
def test_what_is_no_address_is_refused_unasked_and_secrets_stay_out(address: str) -> None:
    with pytest.raises(UserError) as caught:
        _get(address)
    assert "secret" not in str(caught.value)


def test_signatures_of_an_address_are_not_shown(site: Site) -> None:
    with pytest.raises(UserError) as caught:
        _get(site.url("a.npz?X-Signature=secret"))
    assert "secret" not in str(caught.value)
    site.files["b.npz"] = CONTENT
    got = _get(site.url("b.npz?X-Signature=secret"))
    assert "secret" not in got.address
    assert "secret" not in Cache().record_path(site.url("b.npz?X-Signature=secret")).read_text()
