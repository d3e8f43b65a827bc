"""Documents that are not like others, through the whole server: huge, without a file, in odd encodings and directions."""

from __future__ import annotations

import time

import pytest

from lsp_memory import memory_client, session_with
from scripted_backend import ScriptedBackend

ABOVE = "from decimal import Decimal\n"


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "untitled:/code/new.py", "inmemory://model/1", "file:///code/%C3%BC%20b.py"])
async def test_documents_without_a_file(uri: str) -> None:
    async with session_with(ScriptedBackend("price"), ABOVE) as client:
        client.open(ABOVE + "total = ", uri=uri)
        assert await client.texts(1, 8, uri=uri) == ["price"]


@pytest.mark.parametrize(
    ("uri", "reason"), [("git:/code/a.py?ref", "not_editable"), ("output:dlsp", "not_editable"), ("untitled:.env", "excluded_file")]
)
async def test_documents_that_get_nothing(uri: str, reason: str) -> None:
    async with session_with(ScriptedBackend("price"), ABOVE) as client:
        client.open(ABOVE + "total = ", uri=uri)
        assert await client.texts(1, 8, uri=uri) == []
        assert client.reason == reason
        assert not client.backend.requests


async def test_a_document_of_twenty_thousand_lines_takes_no_time() -> None:
    lines = "".join(f"def f{n}(a):\n    if a:\n        return [a, {n}]\n    return None\n\n" for n in range(4000))
    async with session_with(ScriptedBackend("return a"), "x") as client:
        client.open(lines, uri="file:///code/big.py")
        await client.texts(0, 0, uri="file:///code/big.py", kind=1)
        began = time.process_time()
        for number in range(20):
            client.insert(10_004, 0, "    ", version=2 + 2 * number, uri="file:///code/big.py")
            await client.texts(10_004, 4, uri="file:///code/big.py")
            client.change(
                {"range": {"start": {"line": 10_004, "character": 0}, "end": {"line": 10_004, "character": 4}}, "text": ""},
                version=3 + 2 * number,
                uri="file:///code/big.py",
            )
        assert (time.process_time() - began) / 20 < 0.1


@pytest.mark.parametrize(("kind", "texts"), [(2, []), (1, ["price"])])
async def test_a_line_made_by_a_machine_is_left_alone_unless_somebody_asks(kind: int, texts: list[str]) -> None:
    line = "x = [" + "1, " * 100_000
    async with session_with(ScriptedBackend("price"), ABOVE + line) as client:
        began = time.process_time()
        assert await client.texts(1, len(line), kind=kind) == texts
        assert time.process_time() - began < 2.0
        assert client.reason == ("" if texts else "long_line")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("line", ["𝄞 = 𝄞ü + ", "שלום = עולם + ", "a\u2028b\f = ", "\tx = '日本' + "])
async def test_positions_in_every_encoding(encoding: str, line: str) -> None:
    units = {"utf-8": len(line.encode()), "utf-16": len(line.encode("utf-16-le")) // 2, "utf-32": len(line)}[encoding]
    capabilities = {"general": {"positionEncodings": [encoding]}, "textDocument": {"inlineCompletion": {}}}
    async with memory_client(ScriptedBackend("price")) as client:
        told = await client.initialize(options={"debounceMs": 0}, capabilities=capabilities)
        assert told["positionEncoding"] == encoding
        client.open(ABOVE + line + "\r\nnext_line()\r\n")
        await client.ready()
        (item,) = (await client.result(client.ghost(1, units)))["items"]
        assert (item["insertText"], item["range"]["start"]) == ("price", {"line": 1, "character": units})
        assert client.backend.requests[0].prefix == ABOVE + line


@pytest.mark.parametrize(
    ("eol", "expected"), [("\n", "a = 1\n    return a"), ("\r\n", "a = 1\r\n    return a"), ("\r", "a = 1\r    return a")]
)
async def test_line_ends(eol: str, expected: str) -> None:
    async with session_with(ScriptedBackend("a = 1\n    return a"), f"def compute():{eol}    {eol}") as client:
        assert await client.texts(1, 4, kind=1) == [expected]


async def test_half_a_character_and_no_character_at_all() -> None:
    async with session_with(ScriptedBackend("price"), ABOVE + "x = '\ud83d' + \x00") as client:
        assert await client.texts(1, 12, kind=1) == ["price"]
