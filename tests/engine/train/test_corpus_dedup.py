"""What counts as repetition: copies, parts of copies, the same shape under other names, and anything held out."""

from __future__ import annotations

import random
import re

from engine.train.dedup import RUN, WINNOW, Seen, fingerprints


def program(seed: int, lines: int = 80) -> list[str]:
    rng = random.Random(seed)
    return [
        f"{rng.choice(['x', 'self.y', 'return z', 'yield w'])} = "
        + rng.choice([" + ", "(", ", ", " and "]).join("".join(rng.choices("abcdefgh", k=5)) for _ in range(rng.randint(1, 6)))
        for _ in range(lines)
    ]


def seen() -> Seen:
    return Seen(repeated=0.4, same_shape=0.7, reserved=0.1)


def test_a_copy_is_a_duplicate_whatever_its_blanks() -> None:
    known = seen()
    assert known.refuse("\n".join(program(1))) is None
    assert known.refuse("\n\n".join("    " + line for line in program(1))) == "duplicate"


def test_half_a_copy_is_a_near_duplicate_and_a_tenth_is_not() -> None:
    known = seen()
    known.refuse("\n".join(program(1)))
    assert known.refuse("\n".join(program(2)[:40] + program(1)[:40])) == "near duplicate"
    assert known.refuse("\n".join(program(3)[:72] + program(1)[:8])) is None


def test_renaming_everything_does_not_hide_a_copy() -> None:
    known = seen()
    text = "\n".join(program(1))
    known.refuse(text)
    renamed = re.sub(r"[a-h]{5}", lambda m: m[0][::-1] + "_x", text)
    assert known.refuse(renamed) == "same shape"


def test_training_text_that_holds_a_little_of_what_is_held_out_is_dropped() -> None:
    known = seen()
    known.refuse("\n".join(program(1)), reserve=True)
    assert known.refuse("\n".join(program(2)[:60] + program(1)[:20])) == "held out"
    assert known.refuse("\n".join(program(3))) is None


def test_what_was_refused_is_not_remembered() -> None:
    known = seen()
    known.refuse("\n".join(program(1)))
    fresh = program(2)[:40]
    assert known.refuse("\n".join(fresh + program(1)[:40])) == "near duplicate"
    assert known.refuse("\n".join(fresh)) is None


def test_a_shared_stretch_is_found_wherever_it_stands() -> None:
    shared = program(1, RUN + WINNOW - 1)
    for before in range(12):
        text = program(2, before) + shared + program(3, 30)
        assert fingerprints(shared + program(4, 30), RUN) & fingerprints(text, RUN), before


def test_short_texts_have_a_fingerprint_too() -> None:
    assert fingerprints(["one line"], RUN)
    assert fingerprints([], RUN) == fingerprints([], RUN)
