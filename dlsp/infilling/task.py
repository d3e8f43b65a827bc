"""What is to be filled and how, which holes that makes, and the sentence for a person when nothing comes of it.

Knows documents and settings; not how holes are filled.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from dlsp.documents import Snapshot, Span
from dlsp.holes.openings import FREE_LINES, Opening, of_errors, of_markers, of_marks, of_ranges, of_selection, tokens_for
from dlsp.locks import Lock, locked
from dlsp.postprocess.draft import Style
from dlsp.settings import Settings

Kind = Literal["infill", "holes", "refine", "repair"]
_TOKENS_BETWEEN_LOCKS = 24

_SENTENCES = {
    "nothing_selected": "Nothing is selected. Select the text to fill and run the command again.",
    "no_hole": "There is no hole to fill. Mark one with `<fill>`, or write `...` as the body of a function.",
    "no_error": "There is no syntax error there. Put the cursor on the line with the error, or select the text to repair.",
    "all_locked": "Everything in the selection is locked. Lock less of it.",
    "unknown_document": "The document is not open. Open it in the editor first.",
    "excluded_file": "This file never enters a prompt, so nothing is filled. `dlsp doctor` shows which pattern excludes it.",
    "disabled": "Switched off. Toggle or resume completions, or set `enabled` to true.",
    "disabled_language": "Switched off for this language. Toggle it, or switch it on under `languages` in the settings.",
    "not_editable": "This document cannot be edited, so nothing is filled. Open the file itself.",
    "changed_meanwhile": "The document changed meanwhile, so nothing was applied. Run the command again.",
    "not_applied": "The editor did not apply the edit. Check that the file can be written and run the command again.",
    "cancelled": "Cancelled.",
    "superseded": "A newer command for this document took its place.",
    "syntax": "Every text the model had would have broken the syntax, so nothing was changed. Try again, or select less.",
    "no_repair": "No text of the model repairs this and keeps the rest, so nothing was changed. Select what is wrong, or try again.",
    "holes_apart": "The text is longer than the model reads at a time. Select less.",
    "empty_output": "The model had nothing to put there. Try again, or select more.",
    "unchanged": "The model would leave the text as it is. Raise the noise level to get something else.",
    "stretch": "The model had no text of that length. Select the text and fill it anew.",
    "deadline": "The model did not finish in time. Raise `infillDeadlineMs`, or select less.",
    "rest_syntax": "No text of the model fits the others. Run the command again for those.",
    "rest_deadline": "The time was up before the others were done. Run the command again for those, or raise `infillDeadlineMs`.",
    "hasty": "The time was up before the model was done, so look at the ends. Raise `infillDeadlineMs` to give it more.",
    "rest_failed": "The model could not be reached for the others. Run the command again for those.",
    "loading": "The model is still loading. Run the command again in a moment.",
    "backend_error": "The model cannot be reached. Run `dlsp doctor`.",
}
_SAID_AS = {"all_locked": "no_hole", "no_repair": "syntax", "unchanged": "empty_output", "stretch": "empty_output"}
"""Sentences that are more precise than their reason."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A wish: what is done to `spans` of a document (none: all of it, where that makes sense).

    `version` is the document's as the client knew it, None if it did not say. `noise` is the share of a refined text that is
    denoised again, 0 to 1; `lock` says what of it stays. `seed` other than 0 asks for another text than the usual one, `differs`
    for one that does not stand there now, `stretch` for a longer (above 1) or shorter one. `marker` fills only holes with that
    mark. `style` is how the editor indents. `purpose` keeps a look ahead from replacing a command under way, and the other way round.
    """

    uri: str
    version: int | None = None
    kind: Kind = "infill"
    spans: tuple[Span, ...] = ()
    noise: float = 0.5
    lock: tuple[Lock | Span, ...] = ()
    alternatives: int = 1
    seed: int = 0
    stretch: float = 1.0
    marker: str = ""
    differs: bool = False
    style: Style = Style()
    purpose: Literal["infill", "preview"] = "infill"

    @property
    def anew(self) -> bool:
        """Whether a text that stands there already is no answer."""
        return self.differs or self.stretch != 1 or self.kind in ("refine", "repair")


def sentence(reason: str) -> str:
    """What to tell a person: what is the case, and what to do next. Unknown reasons get a general one."""
    return _SENTENCES.get(reason, f"Nothing was filled ({reason}). `dlsp doctor` shows what is wrong.")


def reason_of(sentence_id: str) -> str:
    """The machine-readable reason that belongs to a sentence."""
    return _SAID_AS.get(sentence_id, sentence_id)


def openings_of(snapshot: Snapshot, task: Task, settings: Settings) -> tuple[tuple[Opening, ...], str]:
    """The holes that a task means, or none and the id of the sentence that says why."""
    if task.kind == "holes":
        found = _holes(snapshot, task, settings)
        return found, "" if found else "no_hole"
    if not task.spans or (task.kind != "repair" and all(span.start == span.end for span in task.spans)):
        return (), "nothing_selected"
    if task.kind == "repair":
        found = tuple(opening for span in task.spans for opening in of_errors(snapshot, span))
        return _apart(found), "" if found else "no_error"
    if len(task.spans) == 1:
        found = of_selection(snapshot, task.spans[0])
    else:
        found = of_ranges(snapshot, [span for span in task.spans if span.start != span.end])
    found = tuple(_limited(_locked(snapshot, opening, task), task) for opening in found)
    if task.kind == "refine" and not any(opening.draft.strip() for opening in found):
        return (), "nothing_selected"
    free = tuple(opening for opening in found if not opening.draft or opening.locked != ((0, len(opening.draft)),))
    return free, "" if free else "all_locked"


def _holes(snapshot: Snapshot, task: Task, settings: Settings) -> tuple[Opening, ...]:
    size = task.style.tab_size
    unit = (" " * size if task.style.insert_spaces else "\t") if size else ""
    if not task.spans:
        return of_marks(snapshot, task.marker) if task.marker else of_markers(snapshot, None, settings.hole_markers, unit)
    marked: list[Opening] = []
    bare: list[Span] = []
    for span in task.spans:
        within = of_marks(snapshot, task.marker, span) if task.marker else of_markers(snapshot, span, settings.hole_markers, unit)
        marked += within
        # A range that the client names and that holds no marker is a hole itself.
        bare += () if within or task.marker else (span,)
    return _apart((*marked, *of_ranges(snapshot, bare)))


def _apart(openings: tuple[Opening, ...]) -> tuple[Opening, ...]:
    """Sorted, without those that overlap an earlier one."""
    out: list[Opening] = []
    for opening in sorted(openings, key=lambda each: each.span):
        if not out or opening.span.start > out[-1].span.end:
            out.append(opening)
    return tuple(out)


def _locked(snapshot: Snapshot, opening: Opening, task: Task) -> Opening:
    noise = task.noise if task.kind == "refine" else 1.0
    kept = locked(snapshot, opening.span, task.lock) if task.lock else ()
    tokens = max(opening.max_tokens, _TOKENS_BETWEEN_LOCKS * (len(kept) + 1)) if kept else opening.max_tokens
    return msgspec.structs.replace(opening, noise=noise, locked=kept, max_tokens=tokens)


def _limited(opening: Opening, task: Task) -> Opening:
    if task.stretch == 1 or not opening.draft:
        return opening
    lines = opening.draft.count("\n") + 1
    if task.stretch < 1:
        most = max(1, int(lines * task.stretch))
        tokens = max(8, int(len(opening.draft) / 3 * task.stretch))
    else:
        most = min(opening.max_lines * 2, max(lines + FREE_LINES, 2))
        tokens = tokens_for(most, len(opening.draft) * 2)
    return msgspec.structs.replace(opening, max_lines=most, max_tokens=tokens)
