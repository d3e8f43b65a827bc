"""Downloading the benchmark files: only the published bytes are kept. A server of our own stands in for the network."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from engine.bench import data
from engine.bench import fetch as fetching
from engine.errors import DlspError


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = b"a case\n"
    digest = hashlib.sha256(content).hexdigest()
    first = next(iter(data.HUMANEVAL.values()))
    monkeypatch.setattr(fetching, "HUMANEVAL", {"one": dataclasses.replace(first, file="one.jsonl.gz", sha256=digest)})
    return content


def test_a_published_file_is_kept_and_not_fetched_twice(source: tuple[Path, str], published: bytes, tmp_path: Path) -> None:
    folder, url = source
    (folder / "one.jsonl.gz").write_bytes(published)
    said: list[str] = []
    fetching.fetch(tmp_path / "data", url, said.append)
    assert (tmp_path / "data" / "one.jsonl.gz").read_bytes() == published
    (folder / "one.jsonl.gz").unlink()
    fetching.fetch(tmp_path / "data", url, said.append)
    assert said == ["one.jsonl.gz: 7 bytes", "one.jsonl.gz: already there"]


def test_other_bytes_are_refused(source: tuple[Path, str], published: bytes, tmp_path: Path) -> None:
    folder, url = source
    (folder / "one.jsonl.gz").write_bytes(published + b"!")
    with pytest.raises(DlspError, match="not the published file"):
        fetching.fetch(tmp_path / "data", url)
    assert not (tmp_path / "data").exists()


def test_a_missing_file_is_named(source: tuple[Path, str], published: bytes, tmp_path: Path) -> None:
    with pytest.raises(DlspError, match=r"one\.jsonl\.gz cannot be downloaded"):
        fetching.fetch(tmp_path / "data", source[1])
