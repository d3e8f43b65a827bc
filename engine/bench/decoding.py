"""How a bench asks for denoising: one choice for a whole set, and the `Decoding` that it means for each case.

Adds to the wire's length policies what only a bench can have, the true length. Knows no model and no tokenizer.
"""

from __future__ import annotations

from typing import Any, cast, get_args

import msgspec

from engine.api import Decoding, LengthPolicy
from engine.errors import RequestError

ORACLE = "oracle"
"""The length policy of the benches alone: `fixed`, with as many slots as the true content of the hole takes."""

POLICIES: tuple[str, ...] = (*(name for name in get_args(LengthPolicy) if name), "fixed:N", ORACLE)
"""What the command line takes; nothing at all leaves the policy to the model."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """`decoding` for every case of a set; with `oracle`, its length policy and slots are the case's own."""

    decoding: Decoding = Decoding()
    oracle: bool = False

    def for_case(self, true_slots: int) -> Decoding:
        """The decoding of a case whose true content takes `true_slots` slots (at least one where `oracle` is set)."""
        if not self.oracle:
            return self.decoding
        assert true_slots > 0, "an empty hole has no slots to ask for"
        return msgspec.structs.replace(self.decoding, length="fixed", slots=true_slots)

    def facts(self) -> dict[str, Any]:
        """Everything about the choice that changes answers, for the heading of a row file and the JSON line."""
        facts: dict[str, Any] = msgspec.to_builtins(self.decoding)
        return facts | ({"length": ORACLE} if self.oracle else {})

    def policy(self, reported: str) -> str:
        """How a length policy is named beside a figure: `reported` is what the engine says it did."""
        if self.oracle:
            return ORACLE
        if reported == "fixed" and self.decoding.length == "fixed" and self.decoding.slots:
            return f"fixed:{self.decoding.slots}"
        return reported


def choose(length: str, decoding: Decoding) -> Choice:
    """`decoding` with the length policy `length` of the command line: empty, one of the wire's, `fixed:N`, or `oracle`.

    Raises RequestError for a policy that does not exist, and where `length` and `decoding.slots` contradict each other.
    """
    if length == ORACLE:
        if decoding.slots:
            raise RequestError("The oracle knows the number of slots itself.", "Leave --slots out, or use --length-policy fixed:N.")
        return Choice(decoding=decoding, oracle=True)
    name, _, number = length.partition(":")
    if name == "fixed" and number.isdecimal() and int(number) > 0:
        if decoding.slots not in (0, int(number)):
            raise RequestError(f"--length-policy {length} and --slots {decoding.slots} contradict each other.", "Leave --slots out.")
        return Choice(decoding=msgspec.structs.replace(decoding, length="fixed", slots=int(number)))
    if length not in get_args(LengthPolicy):
        raise RequestError(f"There is no length policy {length!r}.", f"Use {', '.join(POLICIES)}.")
    return Choice(decoding=msgspec.structs.replace(decoding, length=cast(LengthPolicy, length)))
