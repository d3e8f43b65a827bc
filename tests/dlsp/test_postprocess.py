from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dlsp.documents import Point, advance, opened
from dlsp.postprocess.chain import FILTERS, polish
from dlsp.postprocess.draft import Draft, draft_for

CASES = tomllib.loads((Path(__file__).resolve().parents[1] / "golden" / "postprocess.toml").read_text(encoding="utf-8"))["case"]
BY_NAME = {each.__name__: each for each in FILTERS}


def draft_of(case: dict[str, Any]) -> Draft:
    before, bar, after = case["at"].partition("|")
    assert bar, "the case says where the cursor is"
    draft = draft_for(
        opened("file:///a", 1, "python", before + after), advance(Point(0, 0), before), case["text"], case.get("confidence", 1.0)
    )
    return msgspec.structs.replace(draft, floor=case.get("floor", 0.0), max_lines=case.get("max_lines", 1))


@pytest.mark.parametrize("case", CASES, ids=[f"{case['filter']}: {case.get('name', case['text'])!r}"[:70] for case in CASES])
def test_golden(case: dict[str, Any]) -> None:
    draft = (polish if case["filter"] == "all" else BY_NAME[case["filter"]])(draft_of(case))
    assert (draft.text, draft.reason) == (case["gives"], case.get("reason", ""))


def test_every_filter_has_cases() -> None:
    assert {case["filter"] for case in CASES} == {*BY_NAME, "all"}


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_what_is_polished_stays_so_and_has_text_or_a_reason(case: dict[str, Any]) -> None:
    once = polish(draft_of(case))
    assert bool(once.text) != bool(once.reason)
    if once.text:
        assert polish(once) == once


def test_surroundings_are_the_nearest_first() -> None:
    draft = draft_for(opened("file:///a", 1, "python", "a\nb\nc|\nd\ne".replace("|", "")), Point(2, 1), "", 1.0)
    assert (draft.head, draft.tail, draft.above, draft.below) == ("c", "", ("b", "a"), ("d", "e"))
