"""Lines of code in languages other than Python: what is drawn, what is not, and how a set of several languages is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dlsp.cli.bench import bench_app
from engine.bench.data import LANGUAGES
from engine.bench.held_out import KINDS, SourceFile, code_lines, draw, draw_languages
from engine.errors import RequestError

JAVASCRIPT = """\
/* A banner
 * of several lines. */
import fs from 'fs';

const text = `several
lines ${here}
`;
const one = `on one line`;
let pattern = /[/]\\/\\//g; // a remark
let quotient = a / b / c;
function read(path) {
  // a comment
  return fs.readFileSync(path, "utf-8 // no comment");
}
"""

C = """\
#include <stdio.h>
#define TWICE(x) \\
    ((x) + (x))
#if 0
int never(void);
#endif
/* old
int gone;
*/
int main(void) { /* here */
    char c = '"';
    return puts("a /* no comment */");
}
"""

LUA = """\
--[[ long
comment ]]
local s = [[ long
string ]]
local x = s:len() -- a remark
return x ~= 3
"""

SHELL = """\
#!/bin/sh
# a comment
cat <<EOF
not code
EOF
if [ -n "$name" ]; then
    echo "name: ${name}"
fi
"""


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "javascript",
            JAVASCRIPT,
            [
                "import fs from 'fs';",
                "const one = `on one line`;",
                "let quotient = a / b / c;",
                "function read(path) {",
                'return fs.readFileSync(path, "utf-8 // no comment");',
            ],
        ),
        (
            "c",
            C,
            ["#include <stdio.h>", "#define TWICE(x) \\", "((x) + (x))", "#endif", "char c = '\"';", 'return puts("a /* no comment */");'],
        ),
        ("lua", LUA, ["return x ~= 3"]),
        ("shellscript", SHELL, ['if [ -n "$name" ]; then', 'echo "name: ${name}"', "fi"]),
        ("json", '{\n  "name": "x",\n  "n": [1]\n}\n', ['"name": "x",', '"n": [1]']),
        ("yaml", "# no\non:\n  - push  # remark\n  - pull\n", ["on:", "- pull"]),
        ("toml", '# no\n[tool]\nname = "x"\n', ["[tool]", 'name = "x"']),
        ("markdown", "# Title\n\nSome *text*.\n\n```python\ncode()\n```\n", ["# Title", "Some *text*."]),
        ("cobol", "DISPLAY 'x'.\n", []),
    ],
)
def test_only_lines_of_code_are_found(language: str, text: str, expected: list[str]) -> None:
    found = code_lines(text, language)
    assert [line.text.strip() for line in found] == expected
    lines = text.split("\n")
    for line in found:
        assert lines[line.number] == line.text
        assert line.indent == len(line.text) - len(line.text.lstrip())
        for start, end in line.tokens:
            assert line.text[start:end].strip() == line.text[start:end] != ""
        assert all(line.text[start:end].isidentifier() for start, end in line.names)
        assert [a for a, _ in line.tokens] == sorted(a for a, _ in line.tokens)


def test_a_string_is_one_token_and_a_word_one_name() -> None:
    (line,) = code_lines('  log(`a ${b} c`, "d e", x1 === 0x1F);\n', "javascript")
    words = [line.text[start:end] for start, end in line.tokens]
    assert '"d e"' in words
    assert "===" in words
    assert "0x1F" in words
    assert {"log", "x1"} <= {line.text[start:end] for start, end in line.names}
    assert "d" not in words


def test_line_numbers_hold_behind_blank_lines_and_odd_line_ends_give_nothing() -> None:
    assert [line.number for line in code_lines("\n\n\nx = 1\n\n\ny = 2", "lua")] == [3, 6]
    assert code_lines("x = 1\r\ny = 2\r\n", "lua") == code_lines("x = 1\n\fy = 2\n", "lua") == []


def sources() -> list[SourceFile]:
    texts = {"javascript": JAVASCRIPT, "shell": SHELL, "python": "total = first + second\nprint(total)\n"}
    return [
        SourceFile(package=f"p{i % 2}", path=f"{i}.{language}", text=text, split="languages", language=language)
        for language, text in texts.items()
        for i in range(12)
    ]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_language_gets_its_share(kind: str) -> None:
    cases = draw_languages(sources(), kind, 10, 1).cases
    counts = {language: sum(case.language == language for case in cases) for language in ("javascript", "python", "shellscript")}
    assert len(cases) == sum(counts.values())
    assert counts == {"javascript": 10, "python": 10, "shellscript": 10}
    texts = {f"{f.package}/{f.path}": f.text for f in sources()}
    assert all(case.prefix + case.middle + case.suffix == texts[case.id.split(":")[0]] for case in cases)
    assert len({case.id for case in cases}) == len(cases)


def test_a_language_alone_is_drawn_as_it_is_among_others() -> None:
    files = sources()
    python = [file for file in files if file.language == "python"]
    alone = draw_languages(files, "rest_of_line", 8, 5, "py")
    assert alone.cases == draw(python, "rest_of_line", 8, 5).cases
    assert alone.cases == tuple(case for case in draw_languages(files, "rest_of_line", 8, 5).cases if case.language == "python")
    assert {case.language for case in draw_languages(files, "rest_of_line", 8, 5, "sh").cases} == {LANGUAGES["sh"]}
    with pytest.raises(RequestError, match=r"cannot be drawn in 'cobol'\. Use python, javascript"):
        draw_languages(files, "rest_of_line", 8, 5, "cobol")
    with pytest.raises(RequestError, match=r"nothing in 'lua'\. They have javascript, python, shellscript; or pass another --split"):
        draw_languages(files, "rest_of_line", 8, 5, "lua")


def test_the_report_has_a_group_for_each_language(tmp_path: Path) -> None:
    path = tmp_path / "held_out.jsonl"
    rows = [{"package": f.package, "split": f.split, "path": f.path, "language": f.language, "text": f.text} for f in sources()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["holes", "--set", "held-out", "--corpus", str(path), "--split", "languages", "--baseline", "empty", "--n", "6"]
    result = CliRunner().invoke(bench_app, [*options, "--show-threshold", "0.5"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout.rstrip("\n").rsplit("\n", 1)[-1])
    figures = facts["results"]["empty"]
    assert (facts["n"], figures["n"]) == (18, 18)
    assert {name: found["n"] for name, found in figures["languages"].items()} == {"javascript": 6, "python": 6, "shellscript": 6}
    assert "shellscript (n = 6): exact match" in result.stdout
    alone = CliRunner().invoke(bench_app, [*options, "--language", "js"], env={"COLUMNS": "200"})
    facts = json.loads(alone.stdout.rstrip("\n").rsplit("\n", 1)[-1])
    assert (facts["n"], facts["set"]) == (6, "held-out rest_of_line javascript")
    assert "languages" not in facts["results"]["empty"]
