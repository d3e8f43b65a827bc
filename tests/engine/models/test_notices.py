"""Notices of licences: given once for each family, and again rather than never."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.models import notices
from engine.models.notices import notice_once


def test_a_notice_is_given_once_for_each_family(tmp_path: Path) -> None:
    file = tmp_path / "new" / "notices.json"
    assert notice_once("coda", "Not for sale.", file) == "Not for sale."
    assert notice_once("coda", "Not for sale.", file) == ""
    assert notice_once("diffucoder", "Not for sale.", file) == "Not for sale."
    assert notice_once("coda", "Other terms.", file) == "Other terms."
    assert notice_once("coda", "Not for sale.", file) == ""
    assert notice_once("dream", "", file) == ""
    assert [path.name for path in file.parent.iterdir()] == ["notices.json"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"coda": "x"}', b"\xff"])
def test_a_file_that_cannot_be_understood_is_begun_again(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notices.json"
    file.write_bytes(content)
    assert notice_once("coda", "Not for sale.", file)
    assert not notice_once("coda", "Not for sale.", file)


def test_where_nothing_can_be_written_it_is_told_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    file = tmp_path / "file" / "notices.json"
    assert notice_once("coda", "Not for sale.", file)
    assert notice_once("coda", "Not for sale.", file)


def test_it_is_kept_with_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert notices.default_file() == tmp_path / "dlsp" / "notices.json"
    assert notice_once("coda", "Not for sale.")
    assert not notice_once("coda", "Not for sale.")
