"""Cursor positions: only code is drawn, the cut is exact, and the same seed gives the same cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.bench import held_out
from engine.bench.held_out import KINDS, SourceFile, code_lines, draw
from engine.errors import DlspError, RequestError

SOURCE = '''"""Module docstring
that goes on."""

# a comment
import os  # with a remark


def area(width, height):
    """One line."""
    text = """several
    lines"""
    result = width * height

    return compute(
        result,
    )
'''


def files(n: int = 3, text: str = SOURCE) -> list[SourceFile]:
    return [SourceFile(package=f"p{i % 2}", path=f"m{i}.py", text=f"x{i} = {i}\n{text}", split="test") for i in range(n)]


def test_only_lines_of_code_are_drawn() -> None:
    assert [line.text.strip() for line in code_lines(SOURCE)] == [
        "def area(width, height):",
        "result = width * height",
        "return compute(",
        "result,",
    ]


@pytest.mark.parametrize("text", ["def f(:\n", "x = 1\r\ny = 2\r\n", "x = 1\n\f\ny = 2\n", ""])
def test_files_that_python_and_an_editor_read_differently_give_nothing(text: str) -> None:
    assert code_lines(text) == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_cases_put_together_are_the_file(kind: str) -> None:
    sources = files(8)
    texts = {f"{f.package}/{f.path}": f.text for f in sources}
    cases = draw(sources, kind, 30, 7).cases
    assert len(cases) >= 15
    lines = set()
    for case in cases:
        name, line, _ = case.id.split(":")
        assert case.prefix + case.middle + case.suffix == texts[name]
        assert case.middle.strip()
        assert "\n" not in case.middle
        lines.add((name, line))
    assert len(lines) == len(cases), "no line twice"


def test_each_kind_leaves_the_cursor_where_it_says() -> None:
    sources = files(10)
    for case in draw(sources, "whole_line", 40, 0).cases:
        assert case.prefix.rsplit("\n", 1)[-1].strip() == ""
        assert case.suffix.startswith("\n")
        assert not case.middle.startswith(" ")
    typed = [case.prefix.rsplit("\n", 1)[-1] for case in draw(sources, "rest_of_line", 40, 0).cases]
    assert all(case.suffix.startswith("\n") for case in draw(sources, "rest_of_line", 40, 0).cases)
    assert any(text[-1:].isalpha() for text in typed), "some cuts fall inside names"
    assert any(text.strip() and not text[-1].isalnum() for text in typed), "some fall between tokens"
    assert all(not case.suffix.startswith("\n") for case in draw(sources, "within_line", 40, 0).cases)


def test_seeds_decide() -> None:
    sources = files(8)
    assert draw(sources, "rest_of_line", 12, 1) == draw(list(reversed(sources)), "rest_of_line", 12, 1)
    assert draw(sources, "rest_of_line", 12, 1) != draw(sources, "rest_of_line", 12, 2)


def test_small_packages_are_not_drowned_by_large_ones() -> None:
    sources = [SourceFile(package="large", path=f"{i}.py", text=SOURCE) for i in range(40)]
    sources.append(SourceFile(package="small", path="a.py", text=SOURCE))
    drawn = [case.id.split("/")[0] for case in draw(sources, "whole_line", 8, 0).cases]
    assert drawn.count("small") >= 2


def test_errors_name_the_next_action(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no kind of hole 'word'\. Use rest_of_line"):
        draw(files(), "word", 1, 0)
    with pytest.raises(DlspError, match="cannot be read"):
        held_out.read(tmp_path / "none.jsonl")
    path = tmp_path / "held_out.jsonl"
    path.write_text(json.dumps({"package": "a", "split": "other", "path": "a.py", "text": "x = 1\n"}) + "\n")
    with pytest.raises(DlspError, match=r"no files of split 'test'\. Pass another --split"):
        held_out.read(path)
    assert [f.path for f in held_out.read(path, "other")] == ["a.py"]
    assert [f.path for f in held_out.read(path, "")] == ["a.py"]
    path.write_text("not json\n")
    with pytest.raises(RequestError, match="is not a corpus file"):
        held_out.read(path)
