from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from dlsp.documents import Point, Snapshot, opened
from dlsp.settings import Settings
from dlsp.trigger import LONGEST_LINE, Circumstances, Decision, Overrides, decide, gate

SETTINGS = Settings(max_lines=7)
CASES = tomllib.loads((Path(__file__).parents[1] / "golden/trigger.toml").read_text(encoding="utf-8"))["case"]


def at_bar(text: str, language: str = "python") -> tuple[Snapshot, Point]:
    """The document without the bar, and where it was."""
    before, _, after = text.partition("|")
    return opened("file:///code/a", 1, language, before + after), Point(before.count("\n"), len(before.rpartition("\n")[2]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden(case: dict[str, Any]) -> None:
    snapshot, at = at_bar(case["text"], case.get("language", "python"))
    settings = Settings(max_lines=7, **case.get("settings", {}))
    circumstances = case.get("circumstances", {})
    unasked = decide(snapshot, at, settings, Circumstances(**circumstances))
    block = case.get("block", False)
    lines = case.get("lines", 7 if block else 1)
    assert (unasked.reason, unasked.max_lines) == (case.get("reason", ""), lines)
    asked = decide(snapshot, at, settings, Circumstances(invoked=True, **circumstances))
    assert (asked.reason, asked.max_lines) == ("", 7 if case.get("invoked", block) else 1)


def test_the_golden_cases_are_many_and_have_names_of_their_own() -> None:
    assert len(CASES) >= 45
    assert len({case["name"] for case in CASES}) == len(CASES)


def test_gate() -> None:
    def reason(settings: Settings = SETTINGS, uri: str = "file:///code/a.py", language: str = "python", excluded: bool = False) -> str:
        return gate(settings, uri, language, excluded, Overrides())

    assert reason() == ""
    assert reason(uri="untitled:Untitled-1") == ""
    assert reason(uri="vscode-notebook-cell:/code/a.ipynb#1") == ""
    assert reason(excluded=True) == "excluded_file"
    assert reason(language="markdown", excluded=True) == "disabled_language"
    assert reason(Settings(enabled=False), language="markdown", excluded=True) == "disabled"
    assert reason(Settings(languages={"markdown": True}), language="markdown") == ""


@pytest.mark.parametrize("scheme", ["git", "gitfs", "output", "vscode-scm", "walkThrough", "comment"])
def test_documents_nobody_edits(scheme: str) -> None:
    assert gate(SETTINGS, f"{scheme}:/code/a.py", "python", False, Overrides()) == "not_editable"


def test_the_box_of_a_commit_message_is_off_unless_named() -> None:
    assert gate(SETTINGS, "scm:input", "scminput", False, Overrides()) == "disabled_language"
    assert gate(Settings(languages={"scminput": True}), "scm:input", "scminput", False, Overrides()) == ""
    assert gate(Settings(languages={"*": True}), "scm:input", "scminput", False, Overrides()) == "disabled_language"


def test_what_was_switched_by_a_command_counts_for_the_gate() -> None:
    overrides = Overrides()
    overrides.off.add("python")
    assert gate(SETTINGS, "file:///code/a.py", "python", False, overrides) == "disabled_language"
    assert gate(SETTINGS, "file:///code/a.go", "go", False, overrides) == ""
    overrides.disabled = True
    assert gate(SETTINGS, "file:///code/a.go", "go", False, overrides) == "disabled"


def test_a_snooze_ends() -> None:
    overrides = Overrides()
    assert not overrides.snoozed(0.0)
    overrides.snoozed_until = 100.0
    assert [overrides.snoozed(now) for now in (99.0, 100.0, 101.0)] == [True, False, False]


@pytest.mark.parametrize("text", ["total = | + discount", "|", "re|turn total"])
def test_somebody_who_invokes_is_refused_nothing(text: str) -> None:
    snapshot, at = at_bar(text)
    everything = Circumstances(invoked=True, took_back=True, several_cursors=True, snoozed=True)
    assert decide(snapshot, at, Settings(trigger="manual"), everything).reason == ""


def test_a_line_made_by_a_machine() -> None:
    snapshot, at = at_bar("x = " + "1, " * (LONGEST_LINE // 3) + "|\n")
    assert decide(snapshot, at, SETTINGS, Circumstances()).reason == "long_line"
    assert decide(snapshot, at, SETTINGS, Circumstances(invoked=True)) == Decision()


def test_a_block_knows_where_the_block_around_it_ends() -> None:
    text = "class Order:\n    def compute(self):\n        |\n        tax = 1\n        return tax\n\n    def pay(self):\n        pass\n"
    assert decide(*at_bar(text), SETTINGS, Circumstances()) == Decision(max_lines=7, last_line=4)
    assert decide(*at_bar("total = price * |\n"), SETTINGS, Circumstances()).last_line == -1


def test_tokens_grow_with_lines_but_not_without_end() -> None:
    tokens = [Decision(max_lines=lines).max_tokens for lines in (1, 2, 10, 200)]
    assert tokens == sorted(tokens)
    assert tokens[0] < tokens[1]
    assert tokens[-1] <= 512
