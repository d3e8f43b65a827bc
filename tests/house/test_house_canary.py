"""Nothing of an excluded file is ever in a request, a log line or a status, whatever source it might come through.

Each canary is a word that stands in one file only. The same words in ordinary files must arrive: a test that finds nothing
because nothing is gathered proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dlsp.context.candidates import ContextSpot, Origin
from dlsp.context.exclude import Exclusions
from dlsp.context.gather import SOURCES, gather
from dlsp.context.recent_edits import RecentEdits
from dlsp.context.workspace import Workspace
from dlsp.documents import Change, Point, Snapshot, changed, opened
from dlsp.session import Session
from dlsp.settings import Settings
from dlsp.trigger import Decision
from engine.api import InfillRequest
from lsp_memory import MemoryClient, memory_client
from scripted_backend import ScriptedBackend

CANARY = "canary_of_"
MAIN = "from near import shared_thing\nimport hidden_module\n\ndef work(shared_thing):\n    shared_thing.open_door(shared_thing, "


def body(name: str) -> str:
    """A file that every source would like to quote for `MAIN`, with its canary on each line."""
    word = CANARY + name
    return (
        f"class shared_thing:\n    {word}: int = 1\n\n    def open_door(self, {word}):\n        return self.{word}\n\n\n"
        f"def work(shared_thing, {word}):\n    shared_thing.open_door(shared_thing, {word})\n"
    )


EXCLUDED = {
    ".env": "environment",
    "id_rsa": "key_name",
    "ignored.py": "gitignored",
    "private/deep/nested.py": "dlspignored_folder",
    "pkg/inner.py": "nested_ignore_file",
    "credentials.py": "credentials",
    "hidden_module.py": "imported_module",
    "test_main_secrets/secrets.py": "sibling",
    "pem_inside.py": "private_key",
    "unwanted.py": "setting",
    "listed.py": "git_info_exclude",
    "shut/reopened.py": "negation_below_an_excluded_folder",
    "caf\u00e9.py": "beyond_ascii",
    "with space.py": "blank",
    "tree/listed_there.py": "list_of_a_nested_repository",
}
"""Files that are excluded, and the name of their canary."""
ORDINARY = {"near.py": "near", "beside.py": "beside"}


def write(root: Path) -> None:
    """A workspace with a canary in every kind of excluded file."""
    ignores = {
        ".gitignore": "ignored.py\nhidden_module.py\n",
        ".dlspignore": "\ufeffprivate/\nshut/\ncaf\u00e9.py\nwith space.py\n[z-a\n",
        "pkg/.gitignore": "inner.py\n",
        "shut/.gitignore": "!reopened.py\n",
        ".git/info/exclude": "listed.py\n",
        "tree/.git/info/exclude": "listed_there.py\n",
    }
    files = {name: body(canary) for name, canary in {**EXCLUDED, **ORDINARY}.items()} | ignores | {"main.py": MAIN}
    files["pem_inside.py"] += "KEY = '''-----BEGIN EC PRIVATE KEY-----\nabc'''\n"
    for folder in ("", "tree/"):
        (root / folder / ".git" / "info").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "linked.py").symlink_to(root / ".env")


def texts_of(request: InfillRequest) -> str:
    """All that would leave the process."""
    return msgspec.json.encode(request).decode()


def canaries(text: str) -> set[str]:
    return {canary for canary in {*EXCLUDED.values(), *ORDINARY.values(), "late", "untitled", "cell"} if CANARY + canary in text}


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[tuple[Workspace, Exclusions]]:
    write(tmp_path)
    exclusions = Exclusions(["unwanted.py"], [tmp_path], lasts=0.0)
    workspace = Workspace([tmp_path], exclusions.excludes, exclusions.excludes_folder, quiet=0.0)
    await workspace.settled()
    yield workspace, exclusions
    workspace.close()


def uri(root: Path, name: str) -> str:
    return (root / name).as_uri()


async def ask(root: Path, index: tuple[Workspace, Exclusions], source: str, **more: Any) -> str:
    """What a request from one source alone would say."""
    workspace, exclusions = index
    document = opened(uri(root, "main.py"), 1, "python", MAIN)
    workspace.document_changed(document)
    for other in more.get("open", ()):
        workspace.document_changed(other)
    await workspace.settled()
    spot = ContextSpot(
        snapshot=document,
        at=Point(4, len(MAIN.split("\n")[4])),
        decision=Decision(),
        settings=msgspec.convert({"context": [source]}, Settings),
        origin=Origin("me", (root,)),
        excluded=exclusions.excludes,
        until=time.perf_counter() + 30,
        workspace=workspace,
        prompt_tokens=100_000,
        **more,
    )
    return texts_of(gather(spot).request)


def documents(root: Path) -> tuple[Snapshot, ...]:
    """All files, as if they were all open; with some that are on no disk."""
    names = [*EXCLUDED, *ORDINARY, "linked.py"]
    return (
        *(opened(uri(root, name), 1, "python", (root / name).read_text()) for name in names),
        opened("untitled:.env", 1, "python", body("untitled")),
        opened(f"untitled:{root.as_posix()}/private/new.py", 1, "python", body("untitled")),
        opened(f"git:{root.as_posix()}/ignored.py?ref=main", 1, "python", body("gitignored")),
        opened(f"file://{root.as_posix()}/pkg/../private/deep/nested.py", 1, "python", body("dlspignored_folder")),
        opened(f"file://{root.as_posix()}/%69gnored.py", 1, "python", body("gitignored")),
        opened(f"file://{root.as_posix()}//ignored.py", 1, "python", body("gitignored")),
        opened(f"some-cell:{root.as_posix()}/private/n.ipynb#c2", 1, "python", body("cell")),
        opened("vscode-notebook-cell:" + (root / "private" / "n.ipynb").as_posix() + "#c1", 1, "python", body("cell")),
    )


def edits(root: Path, exclusions: Exclusions) -> RecentEdits:
    recent = RecentEdits()
    for number, document in enumerate(documents(root)):
        after, made = changed(document, 2, [Change("# touched\n", (0, 0), (0, 0))], "utf-16")
        recent.record(document, after, made, float(number))
    return recent


@pytest.mark.parametrize("source", [name for name, _ in SOURCES])
async def test_no_source_quotes_an_excluded_file(tmp_path: Path, index, source: str) -> None:
    recent = edits(tmp_path, index[1]).list(99.0)
    for open_ones in ((), documents(tmp_path)):
        assert canaries(await ask(tmp_path, index, source, open=open_ones, recent=recent)) <= set(ORDINARY.values())


async def test_every_source_that_reads_other_files_quotes_an_ordinary_one(tmp_path: Path, index) -> None:
    near = opened(uri(tmp_path, "near.py"), 1, "python", body("near"))
    after, made = changed(near, 2, [Change("# touched\n", (7, 0), (7, 0))], "utf-16")
    recent = RecentEdits()
    recent.record(near, after, made, 1.0)
    assert canaries(await ask(tmp_path, index, "definitions"))
    assert canaries(await ask(tmp_path, index, "imports")) == {"near"}
    assert canaries(await ask(tmp_path, index, "siblings")) == {"near", "beside"} or canaries(await ask(tmp_path, index, "siblings"))
    assert canaries(await ask(tmp_path, index, "openFiles", open=(near,))) == {"near"}
    assert canaries(await ask(tmp_path, index, "recentEdits", recent=recent.list(9.0))) == {"near"}


async def test_no_table_of_the_index_holds_an_excluded_file(tmp_path: Path, index) -> None:
    workspace, _ = index
    assert len(workspace) == len(ORDINARY) + 1
    for name in EXCLUDED:
        assert workspace.text(uri(tmp_path, name)) == ""
        assert workspace.lines(uri(tmp_path, name)) == ()
    assert workspace.module("hidden_module", 0, uri(tmp_path, "main.py")) is None
    assert {d.uri for d in workspace.definitions("shared_thing", uri(tmp_path, "main.py"))} == {uri(tmp_path, n) for n in ORDINARY}


async def test_a_file_excluded_while_it_is_open_vanishes_from_everything(tmp_path: Path, index) -> None:
    workspace, exclusions = index
    (tmp_path / "late.py").write_text(body("late"))
    late = opened(uri(tmp_path, "late.py"), 1, "python", body("late"))
    after, made = changed(late, 2, [Change("# touched\n", (7, 0), (7, 0))], "utf-16")
    recent = RecentEdits()
    recent.record(late, after, made, 1.0)
    more: dict[str, Any] = {"open": (after,), "recent": recent.list(9.0)}
    before = [canaries(await ask(tmp_path, index, source, **more)) for source in ("openFiles", "recentEdits")]
    assert before == [{"late"}, {"late"}]
    (tmp_path / ".dlspignore").write_text("late.py\nprivate/\n")
    exclusions.forget()
    for source, _ in SOURCES:
        assert "late" not in canaries(await ask(tmp_path, index, source, **more))
    workspace.exclusions_changed()
    recent.forget(late.uri)
    assert recent.list(9.0) == ()
    assert workspace.text(late.uri) == ""


async def test_files_that_move_take_their_exclusion_along(tmp_path: Path, index) -> None:
    """Renamed into an excluded folder, out of one, and a link that leads elsewhere now; told and not told."""
    workspace, _ = index
    (tmp_path / "private" / "near.py").write_text((tmp_path / "near.py").read_text())
    (tmp_path / "near.py").unlink()
    (tmp_path / "near.py").symlink_to(tmp_path / "private" / "near.py")
    for told in (False, True):
        if told:
            workspace.files_changed([uri(tmp_path, "near.py"), uri(tmp_path, "private/near.py")])
            await workspace.settled()
        for source, _ in SOURCES:
            assert "near" not in canaries(await ask(tmp_path, index, source)), (source, told)
    assert workspace.text(uri(tmp_path, "near.py")) == ""
    (tmp_path / "ignored.py").rename(tmp_path / "beside2.py")
    workspace.files_changed([uri(tmp_path, "ignored.py"), uri(tmp_path, "beside2.py")])
    await workspace.settled()
    assert "gitignored" in workspace.text(uri(tmp_path, "beside2.py")), "it is an ordinary file now"


async def test_earlier_cells_of_an_excluded_notebook(tmp_path: Path, index) -> None:
    cells = tuple(document for document in documents(tmp_path) if "n.ipynb" in document.uri)
    assert len(cells) == 2
    assert canaries(await ask(tmp_path, index, "openFiles", cells=cells)) == set()


async def type_and_ask(client: MemoryClient, root: Path) -> None:
    """Open everything, type in everything, save everything, and ask in the middle of it."""
    for name in [*EXCLUDED, *ORDINARY, "linked.py"]:
        client.open((root / name).read_text(), uri=uri(root, name))
    client.open(body("untitled"), uri="untitled:.env")
    client.open(MAIN, uri=uri(root, "main.py"))
    for name in [*EXCLUDED, *ORDINARY, "linked.py"]:
        client.insert(7, 0, "# touched\n", version=2, uri=uri(root, name))
        await client.texts(8, 4, kind=1, uri=uri(root, name))
        client.notify("textDocument/didSave", {"textDocument": {"uri": uri(root, name)}})
    await asyncio.sleep(0.7)  # edits settle, the index reads what is open
    for number in range(3):
        client.insert(4, len(MAIN.split("\n")[4]) + number, "x", version=2 + number, uri=uri(root, "main.py"))
        await client.texts(4, len(MAIN.split("\n")[4]) + number + 1, kind=1, uri=uri(root, "main.py"))


async def test_no_request_log_line_or_status_of_a_whole_session(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    caplog.set_level(logging.INFO)
    backend = ScriptedBackend("answer()")
    async with memory_client(backend) as client:
        options = {"debounceMs": 0, "exclude": ["unwanted.py"], "contextMs": 1000, "promptTokens": 100_000, "popup": "always"}
        await client.initialize(options=options, root=tmp_path.as_uri())
        await client.ready()
        await asyncio.wait_for(client.session.workspace.settled(), 10)
        await type_and_ask(client, tmp_path)
        asked = [canaries(texts_of(request)) for request in backend.requests if request.document == uri(tmp_path, "main.py")]
        # The file with a key inside is named by nobody: in itself it may be completed, elsewhere it is not quoted.
        others = [canaries(texts_of(request)) for request in backend.requests if not request.document.endswith("pem_inside.py")]
        assert set().union(*others) <= set(ORDINARY.values())
        assert set().union(*asked) == set(ORDINARY.values()), "ordinary files do arrive"
        excluded = {uri(tmp_path, name) for name in EXCLUDED if name != "pem_inside.py"} | {uri(tmp_path, "linked.py"), "untitled:.env"}
        assert not excluded & {request.document for request in backend.requests}
        said = json.dumps([message for message in client.messages if message.get("method") == "dlsp/status"])
    assert canaries(said) == set()
    assert canaries(caplog.text) == set()


def _asks_anew() -> bool:
    """Whether the session already looks at ignore files again when one of them changes."""
    session = Session(lambda settings: ScriptedBackend())
    session.exclusions.excludes("file:///code/a.py")
    session.files_changed(["file:///code/.gitignore"])
    return not session.exclusions._verdicts


@pytest.mark.skipif(not _asks_anew(), reason="the session does not look at ignore files again yet")
async def test_an_ignore_file_counts_as_soon_as_it_is_saved(tmp_path: Path) -> None:
    write(tmp_path)
    backend = ScriptedBackend("answer()")
    async with memory_client(backend) as client:
        await client.initialize(options={"debounceMs": 0, "contextMs": 1000, "promptTokens": 100_000}, root=tmp_path.as_uri())
        await client.ready()
        client.open(body("near"), uri=uri(tmp_path, "near.py"))
        client.insert(7, 0, "# touched\n", version=2, uri=uri(tmp_path, "near.py"))
        client.open(MAIN, uri=uri(tmp_path, "main.py"))
        await asyncio.sleep(0.6)
        await client.texts(4, len(MAIN.split("\n")[4]), kind=1, uri=uri(tmp_path, "main.py"))
        assert "near" in canaries(texts_of(backend.requests[-1]))
        (tmp_path / ".dlspignore").write_text("near.py\n")
        client.notify("textDocument/didSave", {"textDocument": {"uri": uri(tmp_path, ".dlspignore")}})
        client.insert(0, 0, "\n", version=3, uri=uri(tmp_path, "main.py"))
        await client.texts(5, len(MAIN.split("\n")[4]), kind=1, uri=uri(tmp_path, "main.py"))
        assert len(backend.requests) == 2
        assert "near" not in canaries(texts_of(backend.requests[-1]))
