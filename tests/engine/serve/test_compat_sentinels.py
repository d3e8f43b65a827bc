"""Prompts in the form of other models, and texts that only look like one."""

import pytest

from engine.api import Snippet
from engine.errors import RequestError
from engine.serve.compat.sentinels import Parts, parts


@pytest.mark.parametrize(
    "prompt",
    [
        "<|fim_prefix|>a\n<|fim_suffix|>\nb<|fim_middle|>",
        "<|fim_suffix|>\nb<|fim_prefix|>a\n<|fim_middle|>",
        "<fim_prefix>a\n<fim_suffix>\nb<fim_middle>",
        "<｜fim▁begin｜>a\n<｜fim▁hole｜>\nb<｜fim▁end｜>",  # noqa: RUF001
        "<|code_prefix|>a\n<|code_suffix|>\nb<|code_middle|>",
        "<PRE> a\n <SUF>\nb <MID>",
        "[SUFFIX]\nb[PREFIX]a\n",
    ],
)
def test_the_known_forms(prompt):
    assert parts(prompt) == Parts("a\n", "\nb")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def a():\n",
        "x = '<fim_prefix>'",
        "<fim_prefix>a",
        "print('<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>",
        "a<fim_middle>",
        "[SUFFIX]a",
        "x[SUFFIX]a[PREFIX]b",
    ],
)
def test_a_text_that_mentions_markers_stays_text(text):
    assert parts(text) == Parts(text)


def test_an_empty_side():
    assert parts("<fim_prefix>a<fim_suffix><fim_middle>") == Parts("a", "")
    assert parts("[SUFFIX][PREFIX]a") == Parts("a", "")


def test_files_in_front_are_snippets_the_nearest_first():
    said = parts("<|repo_name|>r\n<|file_sep|>x.py\nx = 1\n<|file_sep|>y.py\ny = 2\n<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>")
    assert (said.prefix, said.suffix) == ("a", "b")
    assert said.snippets == (Snippet(path="", text="y.py\ny = 2"), Snippet(path="", text="x.py\nx = 1"))
    assert parts("<file_sep>x<file_sep><fim_prefix>a<fim_suffix>b<fim_middle>").snippets == (Snippet(path="", text="x"),)


@pytest.mark.parametrize("prompt", ["<fim_prefix>a<fim_suffix>b<fim_suffix>c<fim_middle>", "[SUFFIX]a[PREFIX]b[PREFIX]c"])
def test_a_marker_within_the_text_is_told_and_not_guessed(prompt):
    with pytest.raises(RequestError, match=r"more than once.*Send the text behind the cursor as `suffix`"):
        parts(prompt)
