"""The choice of decoding as the command line says it: every policy of the wire, a number of slots, and the oracle."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from engine.api import Decoding, LengthPolicy
from engine.bench.decoding import POLICIES, Choice, choose
from engine.errors import RequestError


@pytest.mark.parametrize("name", get_args(LengthPolicy))
def test_every_policy_of_the_wire_can_be_chosen(name: str) -> None:
    chosen = choose(name, Decoding(slots=5, level=0.7))
    assert chosen == Choice(decoding=Decoding(length=name, slots=5, level=0.7))
    assert chosen.for_case(99) is chosen.decoding


def test_what_the_command_line_lists_is_what_it_takes() -> None:
    assert set(get_args(LengthPolicy)) - {""} < set(POLICIES)
    for name in POLICIES:
        choose(name.replace("N", "3"), Decoding())


def test_fixed_takes_its_number_either_way() -> None:
    assert choose("fixed:12", Decoding()).decoding == Decoding(length="fixed", slots=12)
    assert choose("fixed:12", Decoding(slots=12)) == choose("fixed", Decoding(slots=12))


@pytest.mark.parametrize(
    ("length", "slots", "sentence"),
    [
        ("longest", 0, r"no length policy 'longest'\. Use end-token, .*fixed:N, oracle"),
        ("fixed:0", 0, "no length policy 'fixed:0'"),
        ("fixed:", 0, "no length policy 'fixed:'"),
        ("fixed:-3", 0, "no length policy 'fixed:-3'"),
        ("end-token:4", 0, "no length policy 'end-token:4'"),
        ("fixed:4", 8, r"--length-policy fixed:4 and --slots 8 contradict"),
        ("oracle", 8, r"oracle knows the number of slots itself\. Leave --slots out"),
    ],
)
def test_contradictions_and_unknown_policies_are_named(length: str, slots: int, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        choose(length, Decoding(slots=slots))


def test_the_oracle_keeps_everything_but_the_length() -> None:
    chosen = choose("oracle", Decoding(schedule="fixed", level=1, remask="remdm", alternatives=3))
    assert chosen.for_case(7) == Decoding(length="fixed", slots=7, schedule="fixed", level=1, remask="remdm", alternatives=3)
    assert (chosen.facts()["length"], chosen.facts()["slots"]) == ("oracle", 0)


def test_facts_hold_every_field_so_that_none_is_forgotten_when_a_run_goes_on() -> None:
    assert set(choose("", Decoding()).facts()) == set(Decoding.__struct_fields__)
    assert msgspec.json.encode(choose("fixed:3", Decoding()).facts()) != msgspec.json.encode(choose("fixed:4", Decoding()).facts())


@pytest.mark.parametrize(
    ("length", "reported", "named"),
    [
        ("", "expand-delete", "expand-delete"),
        ("fixed:9", "fixed", "fixed:9"),
        ("fixed", "fixed", "fixed"),
        ("fixed:9", "end-token", "end-token"),
        ("oracle", "fixed", "oracle"),
    ],
)
def test_the_policy_named_beside_a_figure(length: str, reported: str, named: str) -> None:
    assert choose(length, Decoding()).policy(reported) == named
