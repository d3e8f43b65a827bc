from __future__ import annotations

from pathlib import Path

import msgspec

from dlsp.context.candidates import ContextSpot, Origin
from dlsp.context.gather import CHARACTERS_A_TOKEN, gather
from dlsp.documents import Point, opened
from dlsp.settings import Settings
from dlsp.trigger import Decision


def request_at(text: str, at: Point, settings: Settings | None = None, uri: str = "file:///code/src/a.py", **origin):
    spot = ContextSpot(
        snapshot=opened(uri, 7, "python", text),
        at=at,
        decision=Decision(max_lines=3),
        settings=settings or Settings(),
        origin=Origin(**origin),
        excluded=lambda uri: False,
        until=0.0,
    )
    return gather(spot).request


def test_the_request_says_what_stands_around_the_hole() -> None:
    request = request_at(
        "a\r\nb = \r\nc\r\n", Point(1, 4), Settings(deadline_ms=123, prompt_tokens=456), client="me", roots=(Path("/code"),)
    )
    assert (request.prefix, request.suffix) == ("a\nb = ", "\nc\n")
    assert (request.holes[0].max_lines, request.holes[0].max_tokens) == (3, Decision(max_lines=3).max_tokens)
    assert (request.limits.deadline_ms, request.limits.prompt_tokens) == (123, 456)
    assert (request.client, request.document, request.version) == ("me", "file:///code/src/a.py", 7)
    assert (request.path, request.language) == ("src/a.py", "python")


def test_only_the_name_of_a_file_outside_the_workspace() -> None:
    assert request_at("", Point(0, 0), uri="file:///home/me/clients/acme/a.py").path == "a.py"
    assert request_at("", Point(0, 0), uri="untitled:Untitled-1").path == ""


def test_a_budget_cuts_at_line_starts_and_keeps_what_is_near() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    request = request_at(text, Point(500, 3), Settings(prompt_tokens=50))
    assert len(request.prefix) <= 0.7 * 50 * CHARACTERS_A_TOKEN
    # A model that reads as much after the cursor as before it gets its half.
    assert 0.5 * 50 * CHARACTERS_A_TOKEN < len(request.suffix) <= 0.7 * 50 * CHARACTERS_A_TOKEN
    assert request.prefix.endswith("line 499\nlin")
    assert request.prefix.startswith("line 4")
    assert request.suffix.startswith("e 500\nline 501\n")


def test_one_endless_line_is_cut_within() -> None:
    request = request_at("x" * 100_000, Point(0, 50_000), Settings(prompt_tokens=10))
    assert 0 < len(request.prefix) <= 60
    assert 0 < len(request.suffix) <= 60


def test_half_a_surrogate_pair_does_not_reach_the_wire() -> None:
    request = request_at("a\ud83d = \U0001f600", Point(0, 5))
    assert request.prefix == "a\ufffd = "
    assert request.suffix == "\U0001f600"


def test_a_model_that_does_not_read_snippets_is_not_gathered_for() -> None:
    other = opened("file:///code/src/b.py", 1, "python", "def compute(first, second):\n    return first + second\n")
    spot = ContextSpot(
        snapshot=opened("file:///code/src/a.py", 7, "python", "total = compute(first, second)\nvalue = compute(first, "),
        at=Point(1, 23),
        decision=Decision(),
        settings=Settings(),
        origin=Origin(),
        excluded=lambda uri: False,
        until=float("inf"),
        open=(other,),
    )
    assert gather(spot).request.snippets
    assert not gather(msgspec.structs.replace(spot, reads_snippets=False)).request.snippets
