"""What models write around code is taken off: fences, look-alikes of special tokens, a file's path, empty comments.

Where the document has the like already, as in a manual or in a tokenizer's source, the model may have it too.
"""

from __future__ import annotations

import re

from dlsp.postprocess.draft import Draft

_PROSE = frozenset({"", "markdown", "mdx", "plaintext", "restructuredtext", "asciidoc", "latex", "quarto", "rmd", "html", "git-commit"})
_FENCE = re.compile(r"^[ \t]*```[\w.+#-]*[ \t]*$", re.MULTILINE)
_MARK = re.compile(r"<[|\uff5c][\w \u2581/-]{1,40}[|\uff5c]>|</?fim[_-](?:prefix|middle|suffix|pad)>", re.IGNORECASE)
_PATH = re.compile(r"^\s*(?:#|//|--|;|/\*|<!--)\s*(?:(?:path|file|filename)\s*:\s*)?[\w.@-]*(?:[/\\][\w.@-]+)+\.\w{1,5}\s*(?:\*/|-->)?\s*$")
_EMPTY_COMMENT = re.compile(r"^\s*(?:#|//[/!]?|--)\s*$")


def junk(draft: Draft) -> Draft:
    """Cuts; drops with `junk` where nothing else is left."""
    text = draft.text
    if not _is_there(draft, "<|", "<\uff5c", "<fim"):
        text = _before(_MARK, text)
    if draft.language not in _PROSE and not _is_there(draft, "```"):
        text = _out_of_fence(text)
    text = _without_comments(draft, text)
    return draft.with_text(text) if text.strip() or not draft.text.strip() else draft.dropped("junk")


def _is_there(draft: Draft, *marks: str) -> bool:
    return any(mark in line for line in (draft.head, draft.tail, *draft.above, *draft.below) for mark in marks)


def _before(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return text[: found.start()] if found else text


def _out_of_fence(text: str) -> str:
    """What stands in the first fence, or before it."""
    fence = _FENCE.search(text)
    if fence is None:
        return text
    if text[: fence.start()].strip():
        return text[: fence.start()].rstrip()
    return _before(_FENCE, text[fence.end() :].removeprefix("\n")).rstrip()


def _without_comments(draft: Draft, text: str) -> str:
    """Without comments that only name a file, unless the file begins here, and without empty comments at the end."""
    rows = text.split("\n")
    own = [not draft.head.strip()] + [True] * (len(rows) - 1)
    begins = not draft.head.strip() and not any(line.strip() for line in draft.above)
    for number, row in enumerate(rows):
        if own[number] and _PATH.match(row) and not (begins and not any(other.strip() for other in rows[:number])):
            rows = rows[:number]
            break
    while rows and own[len(rows) - 1] and _EMPTY_COMMENT.match(rows[-1]) and not draft.behind.strip():
        rows.pop()
    return "\n".join(rows) if len(rows) == len(own) else "\n".join(rows).rstrip("\n")
