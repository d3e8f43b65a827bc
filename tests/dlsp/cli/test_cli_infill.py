"""`dlsp infill`: positions, files, and the forms of the answer, with an engine that is only a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dlsp.cli.infill import Cursor, parse_cursor, read_source, unified_diff
from dlsp.cli.main import main
from engine.api import Fill, InfillRequest, InfillResult, Timings
from engine.errors import CheckpointError, DocumentError, RequestError


class StandIn:
    """What the facade promises, filling every hole with `answer`."""

    answer = "MIDDLE"
    requests: list[InfillRequest]
    loaded: list[tuple[str, dict[str, Any]]]

    model, device, dtype, fallback_reason = "nano", "cpu", "float32", ""
    family, notice = "dlsp", ""

    @classmethod
    def load(cls, path_or_name: str, **options: Any) -> StandIn:
        cls.loaded.append((path_or_name, options))
        if path_or_name == "broken":
            raise CheckpointError("model.safetensors is not a whole safetensors file.", "Reinstall dlsp.")
        return cls()

    def infill(self, request: InfillRequest, *, on_step: Any = None, cancelled: Any = None) -> InfillResult:
        self.requests.append(request)
        if on_step:
            slots = (
                SimpleNamespace(text="MID", state="committed", confidence=0.95),
                SimpleNamespace(text="", state="masked", confidence=0.1),
                SimpleNamespace(text="", state="end", confidence=0.9),
            )
            on_step(SimpleNamespace(step=1, text="", slots=slots))
        fills = (Fill(text=self.answer, confidence=0.5, tokens=2),)
        reason = "" if self.answer else "empty_output"
        timings = Timings(prompt_ms=1.0, denoise_ms=2.0)
        return InfillResult(fills=fills, finish="complete", reason=reason, steps=2, forwards=4, timings=timings, model="nano", device="cpu")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    class Fresh(StandIn):
        requests: list[InfillRequest] = []  # noqa: RUF012
        loaded: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    module = ModuleType("engine.runtime.engine")
    module.Engine = Fresh  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.runtime.engine", module)
    monkeypatch.setattr("dlsp.cli.infill.user_file", lambda: Path("/code/no-such-file.toml"))
    return Fresh


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["infill", *args])
    return int(ended.value.code or 0)


def source_file(tmp_path: Path, content: bytes, name: str = "a.py") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("a.py:1:2", ("a.py", 1, 2)),
        ("src/b:c.py:10:20", ("src/b:c.py", 10, 20)),
        ("C:\\x\\a.py:3:4", ("C:\\x\\a.py", 3, 4)),
        ("1:2:3", ("1", 2, 3)),
    ],
)
def test_position_is_read_from_the_right(where: str, expected: tuple[str, int, int]) -> None:
    assert parse_cursor(where) == Cursor(Path(expected[0]), expected[1], expected[2])


@pytest.mark.parametrize("where", ["", "a.py", "a.py:1", "a.py:x:1", "a.py:1:", ":1:1", "a.py:-1:1", "a.py:1.5:1"])
def test_what_is_no_position_is_refused(where: str) -> None:
    with pytest.raises(RequestError, match="PATH:LINE:COL"):
        parse_cursor(where)


@pytest.mark.parametrize(
    ("content", "line", "column", "prefix", "suffix"),
    [
        (b"ab\ncd\n", 1, 1, "", "ab\ncd\n"),
        (b"ab\ncd\n", 2, 2, "ab\nc", "d\n"),
        (b"ab\ncd\n", 2, 3, "ab\ncd", "\n"),
        (b"ab\ncd\n", 3, 1, "ab\ncd\n", ""),
        (b"ab", 1, 3, "ab", ""),
        (b"", 1, 1, "", ""),
        (b"ab\r\ncd\r\n", 2, 2, "ab\nc", "d\n"),
        (b"ab\rcd", 2, 2, "ab\nc", "d"),
        ("\U0001f600é = 1\n".encode(), 1, 2, "\U0001f600", "é = 1\n"),
        ("a\u2028b\fc\n".encode(), 1, 4, "a\u2028b", "\fc\n"),
        (b"\xef\xbb\xbfab\n", 1, 2, "a", "b\n"),
    ],
)
def test_file_is_cut_at_the_cursor(tmp_path: Path, content: bytes, line: int, column: int, prefix: str, suffix: str) -> None:
    source = read_source(Cursor(source_file(tmp_path, content), line, column))
    assert (source.prefix, source.suffix) == (prefix, suffix)


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        (b"ab\ncd\n", 4, 1, "has no line 4. Its lines are 1 to 3."),
        (b"ab\ncd\n", 0, 1, "has no line 0. Its lines are 1 to 3."),
        (b"ab\ncd\n", 2, 4, "has no column 4. Its columns are 1 to 3."),
        (b"ab\ncd\n", 2, 0, "has no column 0. Its columns are 1 to 3."),
        (b"", 2, 1, "has no line 2. Its lines are 1 to 1."),
        (b"a\0b", 1, 1, "is a binary file."),
        ("caf\xe9".encode("latin-1"), 1, 1, "is not UTF-8 text (byte 4)."),
    ],
)
def test_what_cannot_be_cut_is_said(tmp_path: Path, content: bytes, line: int, column: int, message: str) -> None:
    with pytest.raises(DocumentError) as raised:
        read_source(Cursor(source_file(tmp_path, content), line, column))
    assert message in str(raised.value)


def test_missing_file_directory_and_pipe_are_said(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="There is no file"):
        read_source(Cursor(tmp_path / "none.py", 1, 1))
    with pytest.raises(DocumentError, match="is a directory"):
        read_source(Cursor(tmp_path, 1, 1))
    with pytest.raises(DocumentError, match=r"is not a path|There is no file"):
        read_source(Cursor(Path("a\0b"), 1, 1))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DocumentError, match="not a regular file"):
            read_source(Cursor(tmp_path / "pipe", 1, 1))


def test_only_the_middle_is_printed(engine: type[StandIn], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = source_file(tmp_path, b"x = \ny = 2\n")
    assert run(f"{path}:1:5", "--max-lines", "3", "--max-tokens", "9", "--deadline-ms", "70", "--device", "cpu") == 0
    assert capsys.readouterr().out == "MIDDLE\n"
    (request,) = engine.requests
    assert (request.prefix, request.suffix) == ("x = ", "\ny = 2\n")
    assert (request.holes[0].max_lines, request.holes[0].max_tokens, request.limits.deadline_ms) == (3, 9, 70)
    assert engine.loaded == [("nano", {"device": "cpu", "dtype": "auto", "threads": 0})]
    assert path.read_bytes() == b"x = \ny = 2\n"


def test_what_is_not_said_is_as_in_the_settings_file(engine: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('model = "/code/model"\ndtype = "int8"\ndevice = "cpu"\nthreads = 3\n')
    monkeypatch.setattr("dlsp.cli.infill.user_file", lambda: settings)
    where = f"{source_file(tmp_path, b'x = ')}:1:5"
    assert run(where) == 0
    assert run(where, "--model", "nano", "--dtype", "float32", "--device", "auto") == 0
    assert engine.loaded == [
        ("/code/model", {"device": "cpu", "dtype": "int8", "threads": 3}),
        ("nano", {"device": "auto", "dtype": "float32", "threads": 3}),
    ]


def test_json_has_the_facts(engine: type[StandIn], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{source_file(tmp_path, b'x = ')}:1:5", "--json") == 0
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert out.count("\n") == 1
    assert facts["text"] == "MIDDLE"
    assert (facts["steps"], facts["forwards"], facts["tokens"], facts["confidence"]) == (2, 4, 2, 0.5)
    assert (facts["model"], facts["device"], facts["finish"], facts["reason"]) == ("nano", "cpu", "complete", "")
    assert {"queue_ms", "prompt_ms", "denoise_ms", "load_ms"} <= set(facts["timings"])


def test_nothing_to_put_there_has_a_reason(engine: type[StandIn], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answer = ""
    assert run(f"{source_file(tmp_path, b'x = ')}:1:5") == 0
    printed = capsys.readouterr()
    assert printed.out == "\n"
    assert "empty_output" in printed.err


def test_watch_shows_the_canvas_apart_from_the_answer(engine: type[StandIn], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{source_file(tmp_path, b'above = 1' + bytes([10]) + b'x = ')}:2:5", "--watch") == 0
    printed = capsys.readouterr()
    assert printed.out == "MIDDLE\n"
    assert "above = 1" in printed.err
    assert "MID░⏎" in printed.err
    assert "1 of 3 still masked" in printed.err


def test_diff_can_be_applied(
    engine: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    engine.answer = "one\ntwo"
    path = source_file(tmp_path, b"a\r\nx = \r\nb")
    monkeypatch.chdir(tmp_path)
    assert run("a.py:2:5", "--diff") == 0
    diff = capfdbinary.readouterr().out
    assert b"-x = \r\n+x = one\r\n+two\r\n" in diff
    assert diff.endswith(b" b\n\\ No newline at end of file\n")
    applied = subprocess.run(["git", "apply", "-"], input=diff, check=False, capture_output=True, cwd=tmp_path)
    assert applied.returncode == 0, applied
    assert path.read_bytes() == b"a\r\nx = one\r\ntwo\r\nb"


def test_diff_touches_no_other_line_of_a_file_with_mixed_line_ends(tmp_path: Path) -> None:
    source = read_source(Cursor(source_file(tmp_path, b"a\r\nb\nc\x0cd\nx = \n"), 4, 5))
    changed = [line for line in unified_diff(source, "1") if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-x = \n", "+x = 1\n"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{path}:1:9"], "has no column 9"),
        (["{path}:1:1", "--device", "tpu"], "There is no device 'tpu'."),
        (["{path}:1:1", "--dtype", "int3"], "There is no number format 'int3'."),
        (["{path}:1:1", "--model", ""], "The model name is empty."),
        (["{path}:1:1", "--model", "broken"], "is not a whole safetensors file."),
        (["{path}:1:1", "--json", "--diff"], "--json and --diff exclude each other."),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    engine: type[StandIn], tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    path = source_file(tmp_path, b"x = ")
    assert run(*(arg.format(path=path) for arg in args)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("dlsp: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_position_is_checked_before_the_model_is_loaded(engine: type[StandIn], tmp_path: Path) -> None:
    assert run(f"{tmp_path / 'none.py'}:1:1") == 2
    assert engine.loaded == []


@pytest.mark.parametrize("breakage", ["no folder", "empty folder", "bad config", "truncated weights", "pickle"])
def test_real_loader_refuses_a_broken_checkpoint(tmp_path: Path, breakage: str, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    from lsp_stdio import WEIGHTS, have_weights

    model = tmp_path / "model"
    if breakage != "no folder":
        model.mkdir()
    if breakage == "bad config":
        (model / "config.json").write_text("{not json")
    if breakage == "truncated weights":
        assert have_weights(), "the embedded weights are missing"
        shutil.copytree(WEIGHTS, model, dirs_exist_ok=True)
        shard = sorted(model.glob("*.safetensors"))[0]
        shard.write_bytes(shard.read_bytes()[:1000])
    if breakage == "pickle":
        (model / "config.json").write_bytes((WEIGHTS / "config.json").read_bytes())
        (model / "tokenizer.json").write_bytes((WEIGHTS / "tokenizer.json").read_bytes())
        (model / "pytorch_model.bin").write_bytes(b"x")
    assert run(f"{source_file(tmp_path, b'x = ')}:1:5", "--model", str(model)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("dlsp: ")
    assert "Traceback" not in printed.err
    assert printed.err.count("\n") == 1
