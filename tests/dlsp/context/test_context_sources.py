"""Snippets: what each source offers, what is dropped, what stays, and that time and room are kept to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dlsp.context import gather as gathering
from dlsp.context.candidates import Candidate, ContextSpot, Origin, best_passage, passage_text
from dlsp.context.gather import SOURCES, Gathered, gather
from dlsp.context.recent_edits import RecentEdit
from dlsp.context.workspace import Workspace
from dlsp.documents import Point, Snapshot, opened
from dlsp.settings import Settings
from dlsp.trigger import Decision

ROOT = Path("/code")
URI = "file:///code/pkg/main.py"
FAR = "".join(f"filler_{number} = compute_filler({number})\n" for number in range(200))


def document(text: str, uri: str = URI, language: str = "python", version: int = 1) -> Snapshot:
    return opened(uri, version, language, text)


def spot(snapshot: Snapshot, at: Point, **more: Any) -> ContextSpot:
    facts: dict[str, Any] = {
        "decision": Decision(),
        "settings": Settings(),
        "origin": Origin("me", (ROOT,)),
        "excluded": lambda uri: False,
        "until": time.perf_counter() + 60,
        "prompt_tokens": 1024,
    }
    return ContextSpot(snapshot=snapshot, at=at, **(facts | more))


def end_of(text: str) -> Point:
    lines = text.split("\n")
    return Point(len(lines) - 1, len(lines[-1]))


def texts(gathered: Gathered) -> list[str]:
    return [snippet.text for snippet in gathered.request.snippets]


@pytest.fixture
async def workspace(tmp_path: Path):
    files = {
        "pkg/__init__.py": "from .shapes import Square\n",
        "pkg/shapes.py": "class Square:\n    side: int\n\n    def grow_by(self, factor: int) -> None:\n        ...\n",
        "pkg/other.py": "\n".join(f"def handler_{n}(request, response):\n    response.write(request.body)\n" for n in range(6)),
        "app.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    index = Workspace([tmp_path], lambda uri: False, quiet=0.0)
    await index.settled()
    yield SimpleNamespace(index=index, uri=lambda name: (tmp_path / name).as_uri(), origin=Origin("me", (tmp_path,)))
    index.close()


def test_every_source_is_a_setting_and_the_other_way_round() -> None:
    names = [name for name, _ in SOURCES]
    assert set(Settings().context) <= set(names)
    assert msgspec.convert({"context": names}, Settings).context == tuple(names)


async def test_imported_names_near_the_cursor_are_explained(workspace) -> None:
    text = "from pkg import Square\n\nshape = Square("
    found = gather(spot(document(text, workspace.uri("app.py")), end_of(text), workspace=workspace.index, origin=workspace.origin))
    assert texts(found)[0].startswith("class Square:\n    side: int")
    assert found.request.snippets[0].path == "pkg/shapes.py"
    assert found.request.limits.snippet_share == Settings().context_share
    assert dict((name, count) for name, _, count in found.took)["definitions"] == 1  # noqa: C402
    # The same text from the source of imports is not there twice.
    assert len([text for text in texts(found) if text.startswith("class Square")]) == 1


async def test_methods_are_found_by_what_follows_a_dot(workspace) -> None:
    text = "shape.grow_by("
    found = gather(spot(document(text, workspace.uri("app.py")), end_of(text), workspace=workspace.index))
    assert texts(found) == ["class Square:\n    def grow_by(self, factor: int) -> None:"]
    text = "grow_by("  # not imported, so in Python it is something else
    assert not gather(spot(document(text, workspace.uri("app.py")), end_of(text), workspace=workspace.index)).request.snippets


async def test_the_documents_own_far_definitions(workspace) -> None:
    text = "def measure_all(shapes, unit): ...\n" + FAR + "measure_all("
    uri = workspace.uri("app.py")
    workspace.index.document_changed(document(text, uri))
    await workspace.index.settled()
    found = gather(spot(document(text, uri), end_of(text), workspace=workspace.index))
    assert "def measure_all(shapes, unit): ..." in texts(found)
    near = "def measure_all(shapes, unit): ...\nmeasure_all("
    workspace.index.document_changed(document(near, uri))
    await workspace.index.settled()
    assert not gather(spot(document(near, uri), end_of(near), workspace=workspace.index)).request.snippets


async def test_siblings_that_are_like_the_text(workspace) -> None:
    text = "def handler(request, response):\n    response."
    found = gather(spot(document(text, workspace.uri("pkg/main.py")), end_of(text), workspace=workspace.index))
    assert any("response.write(request.body)" in text for text in texts(found))


def test_headers_and_imports_that_are_out_of_sight() -> None:
    body = "".join(f"        step_{number} = self.run(step_{number})\n" for number in range(120))
    text = f"import os\nfrom helpers import runner\n\nclass Machine:\n    def operate(self, power):\n{body}        runner."
    (outline,) = texts(gather(spot(document(text), end_of(text))))
    assert outline == "from helpers import runner\nclass Machine:\n    def operate(self, power):"
    short = text.replace(body, "")
    assert texts(gather(spot(document(short), end_of(short)))) == []


def test_open_documents_give_their_likest_passage() -> None:
    other = document(
        FAR + "\n\ndef send(message, channel):\n    channel.publish(message)\n    channel.flush()\n" + FAR, "file:///code/b.py"
    )
    text = "def send_all(messages, channel):\n    for message in messages:\n        channel."
    (snippet,) = texts(gather(spot(document(text), end_of(text), open=(other,))))
    assert "    channel.publish(message)" in snippet
    assert len(snippet) < 1500
    javascript = opened(other.uri, 1, "javascript", other.text)
    assert texts(gather(spot(document(text), end_of(text), open=(javascript,)))) == []


def test_recent_edits_latest_first_but_not_what_is_in_sight() -> None:
    edits = (
        RecentEdit("file:///code/b.py", "python", "", "rename(one_thing)", 5.0),
        RecentEdit(URI, "python", "", "text = 'the line itself'", 4.0, 0),
        RecentEdit("file:///code/c.py", "python", "", "rename(another_thing)", 3.0),
    )
    assert texts(gather(spot(document("text = "), Point(0, 7), recent=edits))) == ["rename(one_thing)", "rename(another_thing)"]


def test_sources_can_be_switched_off() -> None:
    edits = (RecentEdit("file:///code/b.py", "python", "", "rename(one_thing)", 5.0),)
    for settings in (Settings(context=("openFiles",)), Settings(context=())):
        found = gather(spot(document("x = "), Point(0, 4), recent=edits, settings=settings))
        assert found.request.snippets == ()
        assert found.request.limits.snippet_share == 0.0


def test_excluded_documents_are_never_in() -> None:
    secret = "file:///code/private/b.py"
    edits = (RecentEdit(secret, "python", "", "rename(one_thing)", 5.0),)
    other = document("def rename(thing):\n    return thing.rename(thing)\n", secret)
    text = "def rename_all(thing):\n    thing.rename("
    free = gather(spot(document(text), end_of(text), recent=edits, open=(other,)))
    assert len(free.request.snippets) == 2
    shut = gather(
        spot(document(text), end_of(text), recent=edits, open=(other,), excluded=lambda uri: "private" in uri, previous=free.kept)
    )
    assert shut.request.snippets == ()


def test_private_keys_are_never_in() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nrename(thing)\n"
    edits = (RecentEdit("file:///code/b.py", "python", "", key, 5.0),)
    other = document("KEY = '''" + key + "'''\n" + "def rename(thing):\n    return thing.rename(thing)\n" * 9, "file:///code/c.py")
    text = "def rename_all(thing):\n    thing.rename("
    assert texts(gather(spot(document(text), end_of(text), recent=edits, open=(other,)))) == []


def test_what_the_model_sees_anyway_is_not_told_twice() -> None:
    text = "def one(a):\n    return a\n\n\ndef two(b):\n    "
    edits = (RecentEdit("file:///code/b.py", "python", "", "def one(a):\n    return a\nextra = 1", 5.0),)
    assert texts(gather(spot(document(text), end_of(text), recent=edits))) == []


def test_alike_snippets_are_told_once() -> None:
    edits = tuple(RecentEdit(f"file:///code/{n}.py", "python", "", f"alpha = 1\nbeta = 2\ngamma = {n}", 5.0) for n in range(4))
    assert len(texts(gather(spot(document("x = "), Point(0, 4), recent=edits)))) == 1


def test_no_more_than_the_model_will_read() -> None:
    edits = tuple(RecentEdit(f"file:///code/{n}.py", "python", "", f"value_{n} = {'x' * 150}\nmore_{n} = 1", 5.0) for n in range(8))
    full = document(FAR + "x = ")
    found = gather(spot(full, end_of(FAR + "x = "), recent=edits))
    assert 150 <= sum(map(len, texts(found))) <= 1024 * 2 * 0.25
    # Where nothing stands before the cursor there is room for more.
    assert len(texts(gather(spot(document("x = "), Point(0, 4), recent=edits)))) == 8
    long = (RecentEdit("file:///code/b.py", "python", "", "".join(f"line_{n} = {n}\n" for n in range(200)), 5.0),)
    (cut,) = texts(gather(spot(full, end_of(FAR + "x = "), recent=long)))
    assert len(cut) <= 512
    assert cut.splitlines()[-1].startswith("line_")


def test_no_time_no_snippets() -> None:
    edits = (RecentEdit("file:///code/b.py", "python", "", "rename(one_thing)", 5.0),)
    found = gather(spot(document("x = "), Point(0, 4), recent=edits, until=0.0))
    assert found.request.snippets == ()
    assert found.request.prefix == "x = "


def test_a_slow_source_is_left(monkeypatch) -> None:
    def slow(place: ContextSpot) -> Iterator[Candidate]:
        for number in range(1000):
            time.sleep(0.01)
            yield place.candidate("outline", "file:///code/b.py", f"piece_of_text_{number} = 1", 0.9)

    monkeypatch.setattr(gathering, "SOURCES", (("outline", slow), *SOURCES[1:]))
    edits = (RecentEdit("file:///code/b.py", "python", "", "rename(one_thing)", 5.0),)
    found = gather(spot(document("x = "), Point(0, 4), recent=edits, until=time.perf_counter() + 0.05))
    assert 1 <= len(found.request.snippets) <= 6
    assert [name for name, _, _ in found.took] == ["outline"]


def recent(text: str, uri: str = "file:///code/b.py") -> tuple[RecentEdit, ...]:
    return (RecentEdit(uri, "python", "", text, 5.0),)


def test_snippets_stay_while_they_are_true_and_hardly_worse() -> None:
    text = FAR + "result = "
    old = [edit for name in "abcd" for edit in recent(f"rename({name}_thing)", f"file:///code/{name}.py")]
    first = gather(spot(document(text), end_of(text), recent=tuple(old)))
    was = ["rename(a_thing)", "rename(b_thing)", "rename(c_thing)", "rename(d_thing)"]
    assert texts(first) == was
    other, at = document(text + "one", version=2), end_of(text + "one")

    # Another edit on top makes a set that is hardly better.
    edits = (*recent("rename(other_thing)", "file:///code/z.py"), *old)
    again = gather(spot(other, at, recent=edits, previous=first.kept))
    assert texts(again) == was
    assert again.kept == first.kept
    # Without what was there before, and far from where it was chosen, the new one is taken.
    assert texts(gather(spot(other, at, recent=edits)))[0] == "rename(other_thing)"
    assert texts(gather(spot(other, Point(at.line - 60, 3), recent=edits, previous=first.kept)))[0] == "rename(other_thing)"
    # What is no more true goes, and so does what is no more wanted; the rest stays in its place.
    assert texts(gather(spot(other, at, recent=tuple(old[1:]), previous=first.kept))) == was[1:]
    assert texts(gather(spot(other, at, recent=tuple(old), previous=first.kept, settings=Settings(context=())))) == []
    # What no source offers any more stays as long as its document is untouched.
    source = document("rename(a_thing)\n", "file:///code/a.py")
    alone = gather(spot(document(text), end_of(text), recent=tuple(old[:1]), open=(source,)))
    assert texts(gather(spot(other, at, open=(source,), previous=alone.kept))) == was[:1]
    touched = document("rename(a_thing)\n\n", source.uri, version=2)
    assert texts(gather(spot(other, at, open=(touched,), previous=alone.kept))) == []
    # Much better ones come at once.
    more = tuple(edit for n in range(4) for edit in recent(f"fresh_{n}(thing_{n})", f"file:///code/fresh_{n}.py"))
    assert texts(gather(spot(other, at, recent=(*more, *old[:1]), previous=first.kept)))[0] == "fresh_0(thing_0)"


def test_earlier_cells_stand_before_the_prefix() -> None:
    cells = tuple(
        opened(f"vscode-notebook-cell:/code/n.ipynb#c{n}", 1, "python", text) for n, text in enumerate(["import a\n", "  ", "b = a.b()"])
    )
    here = opened("vscode-notebook-cell:/code/n.ipynb#c9", 1, "python", "b.")
    assert gather(spot(here, Point(0, 2), cells=cells)).request.prefix == "import a\n\nb = a.b()\n\nb."
    hidden = gather(spot(here, Point(0, 2), cells=cells, excluded=lambda uri: uri.endswith("c0")))
    assert hidden.request.prefix == "b = a.b()\n\nb."
    huge = opened("vscode-notebook-cell:/code/n.ipynb#c8", 1, "python", "x = 1\n" * 9000)
    assert gather(spot(here, Point(0, 2), cells=(cells[0], huge))).request.prefix == "b."


def test_half_a_surrogate_pair_does_not_reach_the_wire_in_snippets() -> None:
    found = gather(spot(document("x = "), Point(0, 4), recent=recent("rename('a\ud83d thing')")))
    assert texts(found) == ["rename('a\ufffd thing')"]


def test_passages() -> None:
    lines = (
        *(f"filler_{n} = 1" for n in range(30)),
        "def wanted(thing):",
        "    thing.use()",
        "",
        *(f"tail_{n}" for n in range(30)),
    )
    found = best_passage(lines, frozenset({"wanted", "thing", "use"}))
    assert found is not None
    assert found.first <= 30 <= found.last
    assert best_passage(lines, frozenset({"absent"})) is None
    assert best_passage((), frozenset({"absent"})) is None
    assert passage_text(["\r\n", "    if a:\r\n", "      b\r\n", "\r\n"]) == "if a:\n  b"


@pytest.mark.parametrize("size", [5_000, 20_000])
def test_the_cost_does_not_grow_with_the_document(size: int) -> None:
    text = "".join(f"    value_{n} = compute(value_{n - 1})\n" for n in range(size))
    snapshot = document("def f():\n" + text)
    began = time.process_time()
    for number in range(5):
        gather(spot(snapshot, Point(size // 2 + number, 12)))
    # 5 ms each on a quiet machine would be far too much; the bound leaves room for a busy one.
    assert time.process_time() - began < 0.25


async def test_an_open_sibling_is_a_sibling_where_open_files_are_not_asked(workspace) -> None:
    text = "def handler(request, response):\n    response."
    uri = workspace.uri("pkg/other.py")
    other = document(workspace.index.text(uri), uri)

    def sources(*names: str) -> list[tuple[str, str]]:
        settings = msgspec.convert({"context": names}, Settings)
        main = document(text, workspace.uri("pkg/main.py"))
        found = gather(spot(main, end_of(text), workspace=workspace.index, open=(other,), settings=settings))
        assert found.kept is not None
        return [(candidate.source, candidate.uri) for candidate in found.kept.candidates]

    assert ("siblings", uri) in sources("siblings")
    assert ("siblings", uri) not in sources("siblings", "openFiles")
    assert ("openFiles", uri) in sources("siblings", "openFiles")


async def test_an_endless_line_of_imports_takes_no_time(workspace) -> None:
    text = "import a" + ", b" * 300_000 + "\n" + FAR + "b."
    began = time.process_time()
    gather(spot(document(text, workspace.uri("app.py")), end_of(text), workspace=workspace.index))
    assert time.process_time() - began < 0.15
