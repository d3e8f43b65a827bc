"""Prompts that hold prefix and suffix between the marker tokens of a well-known model, as clients without a `suffix` field send them.

Knows the markers of other models' prompts, only to take them off again; our own models never see them.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.api import Snippet
from engine.errors import RequestError

END_OF_TEXT = "<|endoftext|>"
"""What some clients send as the suffix when there is none."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a prompt says; best snippet first."""

    prefix: str
    suffix: str = ""
    snippets: tuple[Snippet, ...] = ()


@dataclass(frozen=True, slots=True)
class _Markers:
    """`prefix`TEXT`suffix`TEXT`middle`, or with the two parts exchanged. Other files stand in front, `between` two of them."""

    prefix: str
    suffix: str
    middle: str
    between: str = ""


_FAMILIES = (
    _Markers("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"),  # Qwen coder, CodeGemma
    _Markers("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>"),  # StarCoder, and what clients fall back to
    _Markers("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001 - DeepSeek coder spells them so
    _Markers("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
    _Markers("<PRE> ", " <SUF>", " <MID>"),  # Code Llama
)
_CODESTRAL = ("[SUFFIX]", "[PREFIX]")


def parts(prompt: str) -> Parts:
    """The parts of a prompt with markers, or the whole prompt as prefix where it has none in their places.

    A text that only mentions a marker is left as it is: the first must begin the prompt (or follow other files) and the last
    must end it. Raises RequestError where a marker occurs twice, so that nobody can tell what is text.
    """
    for markers in _FAMILIES:
        if found := _between(prompt, markers):
            return found
    first, second = _CODESTRAL
    if prompt.startswith(first) and second in prompt:
        _only_once(prompt, second)
        suffix, _, prefix = prompt.removeprefix(first).partition(second)
        return Parts(prefix, suffix)
    return Parts(prompt)


def _between(prompt: str, markers: _Markers) -> Parts | None:
    if not prompt.endswith(markers.middle):
        return None
    starts = [at for at in (prompt.find(markers.prefix), prompt.find(markers.suffix)) if at >= 0]
    if len(starts) < 2:
        return None
    files, body = prompt[: min(starts)], prompt[min(starts) : -len(markers.middle)]
    if files and not (markers.between and files.lstrip().startswith((markers.between, "<|repo_name|>"))):
        return None
    _only_once(body, markers.prefix)
    _only_once(body, markers.suffix)
    if body.startswith(markers.prefix):
        prefix, _, suffix = body.removeprefix(markers.prefix).partition(markers.suffix)
    else:
        suffix, _, prefix = body.removeprefix(markers.suffix).partition(markers.prefix)
    # What stands nearest to the text is what the client holds for the best.
    others = [text.strip("\n") for text in files.split(markers.between)[1:]] if files else []
    return Parts(prefix, suffix, tuple(Snippet(path="", text=text) for text in reversed(others) if text))


def _only_once(text: str, marker: str) -> None:
    if text.count(marker) > 1:
        raise RequestError(f"The prompt has the marker {marker.strip()} more than once.", "Send the text behind the cursor as `suffix`.")
