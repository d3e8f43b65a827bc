"""What a request, a model and the defaults of the code come to together."""

from __future__ import annotations

from engine.api import Decoding
from engine.models.families import InfillDefaults, TokenIds
from engine.runtime.decoding import resolve

IDS = TokenIds(mask=3, end=2)


def test_a_model_that_speculates_keeps_its_own_threshold_where_it_cannot() -> None:
    defaults = InfillDefaults(schedule="speculative", threshold=0.6)
    usual = resolve(Decoding(), defaults, IDS, "split").plan
    assert (usual.speculative, usual.schedule.kind, usual.schedule.level) == (True, "threshold", 0.6)
    for asked in (Decoding(schedule="threshold"), Decoding(stability=0.1)):
        plan = resolve(asked, defaults, IDS, "split").plan
        assert (plan.speculative, plan.schedule.level) == (False, 0.6)
    assert resolve(Decoding(schedule="factor"), defaults, IDS, "split").plan.schedule.level == 1.0
