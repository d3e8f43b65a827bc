"""`dlsp bench context` without a model: the workspaces are real, and every set of sources asks every hole."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from dlsp.cli.bench_context import Place, Plan, source_sets, workspaces
from engine.api import Fill, InfillRequest, InfillResult
from engine.bench import context as bench
from engine.bench.data import Case, CaseSet
from engine.errors import RequestError

FILES = {
    "box": {
        "box/__init__.py": "",
        "box/shapes.py": "class Square:\n    side: int\n\n    def grow_by(self, factor): ...\n",
        "box/use.py": "from box.shapes import Square\n\nshape = Square(3)\n",
        "box/more.py": "from box.shapes import Square\n\n\ndef many(shape):\n    return Square(shape)\n",
    }
}
CASE = Case(
    id="box/box/use.py:3:16-18", prefix="from box.shapes import Square\n\nshape = Square(", suffix="\n", middle="3)", path="box/use.py"
)


class Oracle:
    """Right where a snippet explains the class, and wrong elsewhere."""

    def __init__(self) -> None:
        self.requests: list[InfillRequest] = []

    def infill(self, request: InfillRequest) -> InfillResult:
        self.requests.append(request)
        text = "3)" if any("class Square" in snippet.text for snippet in request.snippets) else "4)"
        return InfillResult(fills=(Fill(text=text, confidence=1.0, tokens=1),), finish="complete", prompt_tokens=9)


def test_sets_of_sources() -> None:
    assert list(source_sets(["definitions"])) == ["none", "definitions"]
    assert list(source_sets(["imports", "siblings", "outline"])) == [
        "none", "outline", "imports", "siblings", "all", "all but outline", "all but imports", "all but siblings",
    ]  # fmt: skip
    assert source_sets([])["none"] == ()
    with pytest.raises(RequestError, match="no context source 'clipboard'"):
        source_sets(["clipboard"])


def test_a_package_becomes_a_workspace_and_every_set_is_asked() -> None:
    sets, oracle = source_sets(["definitions", "openFiles"]), Oracle()
    done: list[int] = []
    with workspaces(FILES, Plan(share=0.25, prompt_tokens=1024)) as make:

        def ask(case: Case, name: str) -> bench.Asked:
            made = make(Place("box", case.path, case.language, case.prefix, case.suffix), sets[name])
            return bench.Asked(made.request, made.gather_ms, len(made.request.snippets))

        cases = CaseSet(name="held-out", cases=(CASE, CASE))
        figures = bench.measure(oracle, cases, list(sets), ask, lambda number, total: done.append(number))
    assert done == [1, 2]
    assert figures["none"].exact == [False, False]
    assert figures["definitions"].exact == [True, True]
    assert figures["all"].exact == [True, True]
    first = oracle.requests[0]
    assert first.snippets == ()
    assert (first.prefix, first.suffix) == (CASE.prefix, CASE.suffix)
    assert len({request.document for request in oracle.requests}) == len(sets)
    assert all("shape = Square(3)" not in snippet.text for request in oracle.requests for snippet in request.snippets)

    report = bench.report(cases, figures, {"seed": 0})
    assert [label for label, _ in report.rows] == ["none", "definitions", "openFiles", "all"]
    assert report.data["results"]["definitions"]["against_none"]["gained"] == 2
    assert report.data["results"]["none"]["against_none"] is None
    assert report.data["results"]["none"]["against_all"]["lost"] == 2
    assert report.data["results"]["definitions"]["against_all"]["discordant"] == 0
    assert report.data["results"]["all"]["against_all"] is None
    assert {request.limits.prompt_tokens for request in oracle.requests} == {1024}


def test_the_truth_is_not_in_the_index() -> None:
    """The document is indexed as it is while one types: without what stands in the hole."""
    files = {"p": {"a.py": "def known(secret_word): ...\n", "b.py": "x = 1\n"}}
    with workspaces(files, Plan(share=0.5, prompt_tokens=1024)) as make:
        made = make(Place("p", "a.py", "python", "def known(", "\n"), source_sets([])["all"])
        assert "secret_word" not in str(made.request)


def test_ignore_files_above_the_temporary_folder_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*\n")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with workspaces(FILES, Plan(share=0.25, prompt_tokens=1024)) as make:
        made = make(Place("box", CASE.path, CASE.language, CASE.prefix, CASE.suffix), ("definitions",))
    assert made.snippets == {"definitions": 1}


def test_a_path_that_leads_out_is_refused() -> None:
    with (
        workspaces({"p": {"../../a.py": "x = 1\n"}}, Plan(share=0.5, prompt_tokens=1024)) as make,
        pytest.raises(RequestError, match="outside"),
    ):
        make(Place("p", "../../a.py", "python", "x", ""), ())
