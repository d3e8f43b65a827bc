"""The index: what it finds, what it leaves out, and that it follows what happens to files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from dlsp.context import workspace as workspaces
from dlsp.context.exclude import Exclusions
from dlsp.context.workspace import Workspace
from dlsp.documents import opened


@contextlib.asynccontextmanager
async def index(root: Path, files: Mapping[str, str], *, watched: bool = True) -> AsyncIterator[Workspace]:
    for name, text in files.items():
        write(root, name, text)
    exclusions = Exclusions((), [root], lasts=0.0)
    workspace = Workspace([root], exclusions.excludes, exclusions.excludes_folder, quiet=0.0)
    workspace.watched = watched
    await workspace.settled()
    try:
        yield workspace
    finally:
        workspace.close()


def write(root: Path, name: str, text: str) -> str:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path.as_uri()


async def test_names_are_found_nearest_first(tmp_path: Path) -> None:
    files = {"a/one.py": "def go(x): ...\n", "a/two.py": "def go(y): ...\n", "b/c/three.py": "def go(z): ...\n"}
    async with index(tmp_path, files) as workspace:
        near = (tmp_path / "b" / "c" / "four.py").as_uri()
        assert [d.text for d in workspace.definitions("go", near)] == ["def go(z): ...", "def go(x): ...", "def go(y): ..."]
        assert workspace.definitions("gone", near) == ()
        assert len(workspace) == 3


async def test_what_is_not_the_users_is_left_out(tmp_path: Path) -> None:
    files = {
        "mine.py": "def mine(): ...\n",
        ".venv/lib/a.py": "def a(): ...\n",
        "own-env/pyvenv.cfg": "home = /usr\n",
        "own-env/lib/e.py": "def e(): ...\n",
        "node_modules/x/b.js": "function b() {}\n",
        "lib/site-packages/c.py": "def c(): ...\n",
        "d_pb2.py": "def d(): ...\n",
        "keys.py": "KEY = '''-----BEGIN RSA PRIVATE KEY-----'''\ndef k(): ...\n",
        ".gitignore": "out/\n",
        "out/f.py": "def f(): ...\n",
        "secrets.py": "def s(): ...\n",
        "huge.py": "def h(): ...\n" + "# padding\n" * 30_000,
    }
    async with index(tmp_path, files) as workspace:
        assert {name for name in "abcdefhks" if workspace.definitions(name, tmp_path.as_uri())} == set()
        assert workspace.definitions("mine", tmp_path.as_uri())
        assert len(workspace) == 1


async def test_modules_are_where_python_looks_for_them(tmp_path: Path) -> None:
    files = {
        "src/pkg/__init__.py": "from .deep.inner import Thing as Renamed\nfrom . import util\n",
        "src/pkg/util.py": "def helper(): ...\n",
        "src/pkg/deep/__init__.py": "",
        "src/pkg/deep/inner.py": "class Thing: ...\n",
        "tool.py": "def run(): ...\n",
    }
    async with index(tmp_path, files) as workspace:
        uri = {name: (tmp_path / name).as_uri() for name in files}
        inner = uri["src/pkg/deep/inner.py"]
        assert workspace.module("util", 2, inner) == uri["src/pkg/util.py"]
        assert workspace.module("pkg.util", 0, inner) == uri["src/pkg/util.py"]
        assert workspace.module("pkg", 0, uri["tool.py"]) == uri["src/pkg/__init__.py"]
        assert workspace.module("tool", 0, inner) == uri["tool.py"]
        assert workspace.module("os.path", 0, inner) is None
        assert workspace.module("x", 99, inner) is None
        renamed = workspace.defined_in(uri["src/pkg/__init__.py"], "Renamed")
        assert renamed is not None
        assert (renamed.uri, renamed.name) == (inner, "Thing")
        assert workspace.defined_in(uri["src/pkg/__init__.py"], "absent") is None


async def test_relative_modules_of_javascript(tmp_path: Path) -> None:
    async with index(tmp_path, {"a/index.ts": "export class A {}\n", "b.tsx": "x\n", "c/d.ts": "y\n"}) as workspace:
        here = (tmp_path / "c" / "d.ts").as_uri()
        assert workspace.module("../a", 0, here) == (tmp_path / "a" / "index.ts").as_uri()
        assert workspace.module("../b", 0, here) == (tmp_path / "b.tsx").as_uri()
        assert workspace.module("react", 0, here) is None


async def test_the_editors_text_counts_until_the_document_is_closed(tmp_path: Path) -> None:
    async with index(tmp_path, {"a.py": "def old(): ...\n"}) as workspace:
        # Not every client escapes a path in the same way.
        uri = "file://" + (tmp_path / "a.py").as_posix().replace("a.py", "%61.py")
        workspace.document_changed(opened(uri, 1, "python", "def new(): ...\n"))
        await workspace.settled()
        assert not workspace.definitions("old", uri)
        assert [d.uri for d in workspace.definitions("new", uri)] == [uri]
        assert workspace.text(uri) == "def new(): ...\n"
        assert len(workspace) == 1
        workspace.files_changed([(tmp_path / "a.py").as_uri()])
        await workspace.settled()
        assert workspace.definitions("new", uri)
        workspace.document_closed(uri)
        await workspace.settled()
        assert workspace.definitions("old", uri)
        assert not workspace.definitions("new", uri)


async def test_files_that_change_come_and_go(tmp_path: Path) -> None:
    async with index(tmp_path, {"a.py": "def one(): ...\n"}) as workspace:
        first = workspace.stamp((tmp_path / "a.py").as_uri())
        write(tmp_path, "a.py", "def two(): ...\n")
        new = write(tmp_path, "sub/b.py", "def three(): ...\n")
        outside = write(tmp_path.parent, "outside.py", "def four(): ...\n")
        workspace.files_changed([(tmp_path / "a.py").as_uri(), new, outside, "untitled:x"])
        await workspace.settled()
        names = ("one", "two", "three", "four")
        assert [bool(workspace.definitions(name, new)) for name in names] == [False, True, True, False]
        assert workspace.stamp((tmp_path / "a.py").as_uri()) != first
        (tmp_path / "a.py").unlink()
        workspace.files_changed([(tmp_path / "a.py").as_uri()])
        await workspace.settled()
        assert not workspace.definitions("two", new)


async def test_without_a_watcher_used_files_are_looked_at_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(workspaces, "STALE_SECONDS", 0.0)
    async with index(tmp_path, {"a.py": "def one(): ...\n"}, watched=False) as workspace:
        write(tmp_path, "a.py", "def two_and_more(): ...\n")
        assert workspace.definitions("one", tmp_path.as_uri())
        async with asyncio.timeout(5):
            while not workspace.definitions("two_and_more", tmp_path.as_uri()):
                workspace.definitions("one", tmp_path.as_uri())
                await asyncio.sleep(0.01)
        assert not workspace.definitions("one", tmp_path.as_uri())


async def test_what_becomes_excluded_is_gone_at_once(tmp_path: Path) -> None:
    async with index(tmp_path, {"a.py": "def one(): ...\n", "b.py": "def two(): ...\n"}) as workspace:
        uri = (tmp_path / "a.py").as_uri()
        write(tmp_path, ".dlspignore", "a.py\n")
        # Even before anybody says so, nothing is given out.
        assert not workspace.definitions("one", uri)
        assert workspace.text(uri) == ""
        workspace.exclusions_changed()
        await workspace.settled()
        assert len(workspace) == 1
        (tmp_path / ".dlspignore").unlink()
        workspace.exclusions_changed()
        await workspace.settled()
        assert workspace.definitions("one", uri)


async def test_siblings_are_of_the_folder_and_the_tests(tmp_path: Path) -> None:
    files = {
        "p/box.py": "x = 1\n",
        "p/boxes.py": "y = 1\n",
        "p/a.py": "z = 1\n",
        "p/a.js": "q\n",
        "tests/test_box.py": "t = 1\n",
        "r.py": "r\n",
    }
    async with index(tmp_path, files) as workspace:
        found = [uri.rpartition("/")[2] for uri in workspace.siblings((tmp_path / "p" / "box.py").as_uri())]
        assert sorted(found[:2]) == ["boxes.py", "test_box.py"]
        assert found[2:] == ["a.py"]
        assert "box.py" in workspace.siblings((tmp_path / "tests" / "test_box.py").as_uri())[0]


async def test_nothing_is_scanned_while_somebody_types(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "def one(): ...\n")
    workspace = Workspace([tmp_path], lambda uri: False, quiet=0.2)
    began = time.monotonic()
    workspace.start()
    for version in range(5):
        workspace.document_changed(opened((tmp_path / "b.py").as_uri(), version, "python", f"def two_{version}(): ...\n"))
        await asyncio.sleep(0.05)
        assert not workspace.definitions(f"two_{version}", tmp_path.as_uri())
    await workspace.settled()
    assert time.monotonic() - began >= 0.4
    assert workspace.definitions("two_4", tmp_path.as_uri())
    assert not workspace.definitions("two_3", tmp_path.as_uri())
    workspace.close()


async def test_the_loop_turns_while_many_files_are_read(tmp_path: Path) -> None:
    body = "".join(f"def function_{n}(first, second):\n    return first + second\n\n" for n in range(600))
    for number in range(20):
        write(tmp_path, f"m{number}.py", body)
    workspace = Workspace([tmp_path], lambda uri: False, quiet=0.0)
    workspace.start()
    # The garbage of a whole test run is not the index's.
    gc.collect()
    gc.freeze()
    longest, began = 0.0, time.thread_time()
    settled = asyncio.create_task(workspace.settled())
    while not settled.done():
        now = time.thread_time()
        longest = max(longest, now - began)
        began = now
        await asyncio.sleep(0)
    gc.unfreeze()
    assert len(workspace) == 20
    # Processor time of this thread, so that others' work does not count.
    assert longest < 0.05
    workspace.close()


async def test_closing_stops_everything(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "def one(): ...\n")
    workspace = Workspace([tmp_path], lambda uri: False)
    workspace.start()
    await asyncio.sleep(0)
    workspace.close()
    await asyncio.sleep(0.05)
    assert len(workspace) == 0
    assert len([task for task in asyncio.all_tasks() if not task.done()]) == 1
    assert os.listdir(tmp_path) == ["a.py"]


async def test_a_file_that_nobody_can_make_sense_of_costs_only_itself(tmp_path: Path, monkeypatch, caplog) -> None:
    real = workspaces.scan

    def scan(language: str, lines: list[str]):
        if "poison" in lines[0]:
            raise RuntimeError("poison")
        return real(language, lines)

    monkeypatch.setattr(workspaces, "scan", scan)
    async with index(tmp_path, {"a.py": "def one(): ...\n"}) as workspace:
        bad, good = write(tmp_path, "bad.py", "poison = 1\n"), write(tmp_path, "good.py", "def two(): ...\n")
        for uri in (bad, good):
            workspace.files_changed([uri])
            await asyncio.wait_for(workspace.settled(), 5)
        assert workspace.definitions("two", good)
        assert workspace.definitions("one", good)
    assert "RuntimeError" in caplog.text
    assert "poison" not in caplog.text


async def test_thousands_of_changes_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch) -> None:
    async with index(tmp_path, {}) as workspace:
        sizes = []
        real = workspace._read
        monkeypatch.setattr(workspace, "_read", lambda uris: sizes.append(len(uris)) or real(uris))
        uris = [write(tmp_path, f"m{number}.py", f"def f{number}(): ...\n") for number in range(100)]
        workspace.files_changed(uris)
        await workspace.settled()
        assert len(workspace) == 100
        assert max(sizes) <= 32


async def test_a_folder_that_was_renamed_is_found_out_even_if_nobody_tells(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(workspaces, "WATCHED_SECONDS", 0.0)
    async with index(tmp_path, {"old/a.py": "def one(): ...\n", ".gitignore": "private/\n"}) as workspace:
        (tmp_path / "old").rename(tmp_path / "private")
        workspace.definitions("one", tmp_path.as_uri())
        async with asyncio.timeout(5):
            while workspace.definitions("one", tmp_path.as_uri()):
                await asyncio.sleep(0.01)
        assert len(workspace) == 0


async def test_definitions_weigh_as_well(tmp_path: Path, monkeypatch) -> None:
    """A file of headers that are never closed has the same lines in many definitions."""
    monkeypatch.setattr(workspaces, "MOST_BYTES", 100_000)
    files = {f"m{number}.py": "".join(f"def f{number}_{n}(a,\n" for n in range(100)) for number in range(20)}
    async with index(tmp_path, files) as workspace:
        assert 1 <= len(workspace) <= 8
        for uri in list(workspace._files):
            workspace._drop(uri)
        assert workspace._bytes == 0
        assert not workspace._names


async def test_of_a_folder_with_too_many_files_some_are_taken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("dlsp.context.workspace_files._MOST_ENTRIES", 10)
    async with index(tmp_path, {f"m{number}.py": "x = 1\n" for number in range(40)}) as workspace:
        assert len(workspace) == 10


async def test_a_byte_order_mark_hides_no_definition(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbfdef one(): ...\n")
    async with index(tmp_path, {}) as workspace:
        assert [d.text for d in workspace.definitions("one", tmp_path.as_uri())] == ["def one(): ..."]


def test_a_long_file_without_definitions_can_be_left_in_the_middle() -> None:
    for language in ("python", "javascript"):
        pauses = list(workspaces.scan(language, ["    call(this)"] * 5_000))
        assert pauses.count(None) == len(pauses) >= 25
