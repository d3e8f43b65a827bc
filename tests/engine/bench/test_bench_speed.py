"""Keystrokes, steps, start-up and reports, against engines and a language server made up for the purpose."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.api import Fill, InfillRequest, InfillResult
from engine.bench import full_path, idle, keystroke, memory, startup, steps
from engine.bench.data import Case
from engine.bench.keystroke import KeystrokePlan, Sample
from engine.bench.report import Report, machine, show
from engine.bench.rpc import Command, RpcClient
from engine.errors import HostError

linux_only = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")


class Engine:
    """Takes 30 ms for a document's first request, 1 ms afterwards, 30 ms without reuse."""

    def __init__(self) -> None:
        self.asked: list[InfillRequest] = []

    def infill(self, request: InfillRequest) -> InfillResult:
        warm = any(r.document == request.document for r in self.asked)
        self.asked.append(request)
        time.sleep(0.001 if warm else 0.03)
        return result(request, forwards=2 if warm else 4)


class EngineWithout(Engine):
    def infill_uncached(self, request: InfillRequest) -> InfillResult:
        time.sleep(0.03)
        return result(request, forwards=2)


def result(request: InfillRequest, forwards: int) -> InfillResult:
    fills = (Fill(text="x", confidence=0.5, tokens=4),)
    return InfillResult(fills=fills, finish="complete", steps=2, forwards=forwards, prompt_tokens=len(request.prefix) // 4)


def place(name: str, middle: str = "compute(x)") -> Case:
    body = "".join(f"    line_{i} = {i}\n" for i in range(400))
    return Case(id=name, prefix=f"def f():\n{body}    y = ", suffix=f"\n{body}", middle=middle, path=f"{name}.py")


def test_places_hold_about_the_context_and_enough_to_type() -> None:
    plan = KeystrokePlan(context=200, warm=3)
    cases = keystroke.places([place("a"), place("short", "xyz"), place("b", "wxyz")], plan)
    assert [case.id for case in cases] == ["a", "b"]
    for case in cases:
        assert 0.8 * 200 * 4 < len(case.prefix + case.suffix) < 1.2 * 200 * 4.5
        assert case.prefix.startswith("    line_"), "cut at whole lines"
        assert case.prefix.endswith("    y = ")
        assert case.suffix.startswith("\n    line_0")


def test_keystrokes_type_the_truth_cold_first_then_warm() -> None:
    engine = Engine()
    plan = KeystrokePlan(context=200, warm=2, deadline_ms=70)
    cases = keystroke.places([place("a"), place("b")], plan)
    samples = keystroke.measure(engine, cases, plan)
    assert [s.warm for s in samples] == [False, True, True] * 2
    # The warm-up visit is not measured, and is no visit of the document that is.
    asked = engine.asked[3:]
    assert [r.prefix[len(cases[0].prefix) :] for r in asked[:3]] == ["", "c", "co"]
    assert [r.version for r in asked[:3]] == [0, 1, 2]
    assert len({r.document for r in engine.asked}) == 3
    assert asked[0].limits.deadline_ms == 70
    assert asked[0].limits.prompt_tokens == 200
    report = keystroke.report(samples, {})
    cold, warm = report.data["results"]["cold"], report.data["results"]["warm"]
    assert (cold["latency_ms"]["n"], warm["latency_ms"]["n"]) == (2, 4)
    assert cold["latency_ms"]["p50"] > warm["latency_ms"]["p50"] > 0.9
    assert warm["tokens_per_forward"] == 2.0


def test_typed_through_answers_are_reported_apart() -> None:
    samples = [Sample(warm=True, latency_ms=100, empty=False), Sample(warm=True, latency_ms=1, empty=False, typed_through=True)]
    report = keystroke.report(samples, {})
    assert list(report.columns) == ["warm", "typed through"]
    assert report.data["results"]["warm"]["latency_ms"]["p50"] == 100


@pytest.mark.parametrize("engine", [Engine(), EngineWithout()])
def test_steps_compare_reuse_with_none_where_the_engine_can(engine: Engine) -> None:
    results, has_uncached = steps.measure(engine, [place("a"), place("b")], steps.StepsPlan(contexts=(64,), repeat=3))
    report = steps.report(results, has_uncached, {})
    (figures,) = results
    assert figures["first_ms"]["n"] == figures["kept_ms"]["n"] == 3
    if has_uncached:
        assert figures["request_ratio"] > 2
        assert "without / with reuse: request" in dict(report.rows)
    else:
        assert any(note.startswith("Skipped") for note in report.notes)


def test_the_last_line_is_json_and_unwrapped() -> None:
    out = io.StringIO()
    report = Report(title="t", columns=["a"], rows=[("row", ["1"])], data={"bench": "x", "long": "y" * 500}, notes=["A note."])
    show(report, Console(file=out, width=60))
    *table, last = out.getvalue().rstrip("\n").split("\n")
    assert json.loads(last)["long"] == "y" * 500
    assert any("row" in line for line in table)
    assert "A note." in table


@pytest.mark.parametrize(("load", "said"), [(0.1, False), (3.0, True)])
def test_a_busy_machine_is_said_aloud(load: float, said: bool) -> None:
    out = io.StringIO()
    facts = {"machine": {"load_1m": load, "cores": 2}}
    show(Report(title="t", columns=[], rows=[], data=facts), Console(file=out, width=200))
    assert ("was busy" in out.getvalue()) is said


def test_machine_facts_import_no_torch() -> None:
    code = "import sys; from engine.bench.report import machine; facts = machine(3); "
    code += "assert facts['cpu'] and facts['threads'] == 3; assert 'torch' not in sys.modules"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
    assert machine()["threads"] == "auto"


@linux_only
def test_memory_of_processes() -> None:
    held = memory.of_process(os.getpid())
    assert held is not None
    assert held.pss_mb is not None
    assert 5 < held.pss_mb <= held.rss_mb
    assert memory.of_process(2**22 + 1) is None


SERVER = textwrap.dedent(
    """
    import json, os, subprocess, sys, time

    def read():
        size = 0
        while (line := sys.stdin.buffer.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        return json.loads(sys.stdin.buffer.read(size)) if size else None

    def write(message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        sys.stdout.buffer.write(b"Content-Type: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        sys.stdout.buffer.flush()

    mode, text, host = sys.argv[1], "", None
    while (message := read()) is not None:
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            if mode == "dies":
                sys.exit(3)
            offers = {} if mode == "plain" else {"inlineCompletionProvider": {}, "positionEncoding": "utf-32"}
            write({"id": number, "result": {"capabilities": offers}})
        elif method == "initialized":
            write({"id": "s1", "method": "workspace/configuration", "params": {"items": [{}, {}]}})
            host = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            state = "error" if mode == "broken" else "ready"
            write({"method": "dlsp/status", "params": {"state": "loading"}})
            write({"method": "dlsp/status", "params": {"state": state, "model": "toy", "device": "cpu", "message": "No model."}})
        elif number == "s1":
            assert message["result"] == [None, None]
        elif method == "textDocument/didOpen":
            text = message["params"]["textDocument"]["text"]
        elif method == "textDocument/didChange":
            (change,) = message["params"]["contentChanges"]
            lines, start = text.split("\\n"), change["range"]["start"]
            line = lines[start["line"]]
            lines[start["line"]] = line[: start["character"]] + change["text"] + line[start["character"] :]
            text = "\\n".join(lines)
        elif method == "textDocument/inlineCompletion":
            at = message["params"]["position"]
            line = text.split("\\n")[at["line"]][: at["character"]]
            typed = line.rsplit(" ", 1)[1]
            rest = "compute"[len(typed) :] if "compute".startswith(typed) else ""
            time.sleep(0.002)
            # The range covers the word before the cursor, so the text begins with it.
            span = {"start": {"line": at["line"], "character": at["character"] - len(typed)}, "end": at}
            items = [{"insertText": typed + rest, "range": span}] if rest else []
            write({"id": number, "result": {"items": items}})
            write({"method": "dlsp/status", "params": {"state": "ready", "reason": "" if rest else "nothing_there"}})
        elif method == "shutdown":
            write({"id": number, "result": None})
        elif method == "exit":
            break
    """
)


def toy(tmp_path: Path, mode: str = "good") -> list[str]:
    script = tmp_path / "toy_server.py"
    script.write_text(SERVER)
    return [sys.executable, "-I", str(script), mode]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@linux_only
def test_keystrokes_through_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts: list[int] = []
    of_process = memory.of_process

    def noted(pid: int) -> Any:
        hosts.append(pid)
        return of_process(pid)

    monkeypatch.setattr(memory, "of_process", noted)
    plan = KeystrokePlan(context=100, warm=2)
    cases = keystroke.places([place("ä"), place("b"), place("c", "other(x)")], plan)
    server = full_path.ServerPlan(arguments=toy(tmp_path), environment=os.environ, settings={})
    samples, facts = full_path.measure(cases, plan, server)
    assert [s.warm for s in samples] == [False, True, True] * 3
    # "= " gives "compute"; "c" and "co" leave the rest of it; "o" and "ot" leave nothing.
    assert [s.typed_through for s in samples] == [False, True, True] * 2 + [False] * 3
    assert [s.empty for s in samples] == [False] * 7 + [True] * 2
    assert all(2 < s.latency_ms < 30_000 for s in samples)
    assert (facts.model, facts.device) == ("toy", "cpu")
    assert facts.server is not None
    assert facts.host is not None
    assert facts.host.pid != facts.server.pid
    assert "server" in facts.notes()[1]
    assert facts.data()["model"] == {"name": "toy", "device": "cpu"}
    time.sleep(0.2)
    assert not any(alive(pid) for pid in hosts), "what was started is ended"


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("dies", r"ended while initialize was awaited"),
        ("plain", r"offers no inline completion"),
        ("broken", r"engine cannot be used: No model\."),
    ],
)
def test_a_server_that_fails_is_one_sentence(tmp_path: Path, mode: str, sentence: str) -> None:
    plan = KeystrokePlan(context=100, warm=1)
    server = full_path.ServerPlan(arguments=toy(tmp_path, mode), environment=os.environ, settings={})
    with pytest.raises(HostError, match=sentence):
        full_path.measure(keystroke.places([place("a")], plan), plan, server)


def test_a_server_that_is_silent_or_absent_is_one_sentence(tmp_path: Path) -> None:
    silent = RpcClient(Command([sys.executable, "-c", "import sys; sys.stdin.read()"], os.environ, str(tmp_path)))
    with pytest.raises(HostError, match=r"did not answer initialize within 0\.1 seconds"):
        silent.request("initialize", {}, seconds=0.1)
    silent.close()
    with pytest.raises(HostError, match="cannot be started"):
        RpcClient(Command([str(tmp_path / "none")], os.environ, str(tmp_path)))


def test_startup_times_and_memory(tmp_path: Path) -> None:
    turns: list[tuple[int, int]] = []
    results = startup.measure(toy(tmp_path), os.environ, 2, lambda done, total: turns.append((done, total)))
    assert turns == [(0, 2), (1, 2), (2, 2)]
    assert len(results) == 2
    assert all(5 < (r["initialize_ms"] or 0) < 30_000 for r in results)
    report = startup.report(results, {"command": "c"})
    assert report.data["initialize_ms"]["n"] == 2
    assert report.data["command"] == "c"
    bare = startup.report([{"initialize_ms": 9.0, "rss_mb": None, "pss_mb": None}], {})
    assert dict(bare.rows)["resident memory (RSS)"] == ["-"]
    assert bare.data["rss_mb"] is None


def test_idle_processes_are_watched(tmp_path: Path) -> None:
    turns: list[tuple[int, int]] = []
    plan = idle.IdlePlan(tmp_path, "a = ", "\n", 0.1, 0.3, lambda done, total: turns.append((done, total)))
    server = full_path.ServerPlan(arguments=toy(tmp_path), environment=os.environ, settings={})
    shares = idle.measure(plan, server)
    assert list(shares) == ["server", "host"]
    assert all(0 <= share < 100 for share in shares.values())
    assert turns
    report = idle.report({"server": 0.1234, "host": 2.0}, {"command": "c"})
    assert report.rows == [("processor, % of one core", ["0.12", "2.00"])]
    assert report.data["percent"] == {"server": 0.123, "host": 2.0}


def test_processor_time_is_that_of_the_process(tmp_path: Path) -> None:
    before, own = idle.processor_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.1:
        pass
    after = idle.processor_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert 0.08 < after - before < 10
    stat = tmp_path / "7" / "stat"
    stat.parent.mkdir()
    stat.write_text("7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 500 250 0 0 20 0 3 0 9")
    assert idle.processor_seconds(7, tmp_path) == 750 / os.sysconf("SC_CLK_TCK")
    assert idle.processor_seconds(8, tmp_path) is None


@pytest.mark.parametrize(
    ("before", "encoding", "position"),
    [
        ("a\nbc", "utf-16", {"line": 1, "character": 2}),
        ("x😀é", "utf-16", {"line": 0, "character": 4}),
        ("x😀é", "utf-32", {"line": 0, "character": 3}),
        ("x😀é", "utf-8", {"line": 0, "character": 7}),
        ("", "utf-32", {"line": 0, "character": 0}),
    ],
)
def test_positions(before: str, encoding: str, position: dict[str, int]) -> None:
    assert full_path._position(before, encoding) == position


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, ""),
        ({"items": []}, ""),
        ([{"insertText": "bc"}], "bc"),
        ({"items": [{"insertText": {"kind": "snippet", "value": "bc"}}]}, "bc"),
        ({"items": [{"insertText": "  xbc", "range": {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 3}}}]}, "bc"),
        ({"items": [{"insertText": "bc", "range": {"start": {"line": 1, "character": 3}, "end": {"line": 1, "character": 3}}}]}, "bc"),
    ],
)
def test_what_an_item_adds_behind_the_cursor(answer: Any, text: str) -> None:
    assert full_path._text(answer, "y\n  x", "utf-16") == text
