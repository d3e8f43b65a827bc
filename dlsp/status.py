"""What the user may know about the server right now: one report, kept up to date and told to whoever listens.

Every report of an answer without text has a machine-readable reason. Knows neither the protocol nor how reports are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from engine.api import State, Status

REASONS: dict[str, str] = {
    # Switched off, or held back.
    "disabled": "Completions are switched off; `dlsp.toggle` or the setting `enabled` brings them back.",
    "disabled_language": "Completions are off for this language; `dlsp.toggle` or the setting `languages` switches it on.",
    "manual": "The setting `trigger` is `manual`: text comes only when you ask for it.",
    "snoozed": "Completions pause for a while; `dlsp.resume` ends the pause.",
    "excluded_file": "This file never enters a prompt; `dlsp doctor --file PATH` says which pattern keeps it out.",
    "not_editable": "This is no document that you write, such as output or an older version of a file.",
    "unknown_document": "The editor asked about a document that it has not opened.",
    "inline_client": "This editor shows text inline, so the popup gets none; the setting `popup` changes that.",
    # Not here, not now.
    "mid_line": "There is code behind the cursor; ask explicitly to get a completion in the middle of a line.",
    "undo": "You have just taken something back.",
    "several_cursors": "There are several cursors.",
    "popup_selected": "The selected item of the popup does not go with inline text.",
    "empty_document": "There is hardly anything in this document yet to go by; ask explicitly to get a completion.",
    "long_line": "This line is too long for automatic completions; ask explicitly to get one.",
    "debounced": "You went on typing before the model was asked.",
    "superseded": "A newer request took the place of this one.",
    "moved": "The document changed before the answer came.",
    "cancelled": "The request was cancelled.",
    # The model had its say.
    "empty_output": "The model had nothing to say here.",
    "low_confidence": "The model was not sure enough; `minConfidence` and `eagerness` set the bar.",
    "too_short": "The text was shorter than `minCharacters`.",
    "duplicate": "The text stands there already.",
    "repetition": "The text repeated itself.",
    "invalid_characters": "The text had characters that do not belong into source code.",
    "syntax": "The text would have broken the syntax of the file.",
    "junk": "The text was no code: a fence, a file name or an empty comment.",
    "rejected": "You have turned this text down here before.",
    # Commands that fill selections and holes.
    "no_hole": "There is nothing to fill here: no marker, no stub and no selection.",
    "nothing_selected": "Nothing is selected.",
    "no_error": "There is no error here to repair.",
    "changed_meanwhile": "The document changed while the model worked, so nothing was put in; run the command again.",
    "not_applied": "The editor did not take the edit; the file may be read-only.",
    "holes_apart": "The holes are too far apart for the model to read between them; fill fewer at once.",
    # The engine.
    "loading": "The model is being loaded.",
    "starting": "The engine is being started.",
    "not_started": "The engine starts when it is first needed.",
    "connecting": "The engine is being looked for.",
    "deadline": "The model was not done in time; `deadlineMs` gives it longer.",
    "backend_error": "The engine failed; the log and `dlsp doctor` say how.",
    "unreachable": "The engine cannot be reached; `dlsp doctor` says why.",
    "no_answer": "The engine does not answer; `dlsp doctor` says why.",
    "host_lost": "The engine has ended and is being started again.",
    "host_failed": "The engine ended again and again and stays down; the log and `dlsp doctor` say why.",
    "host_error": "The engine failed; the log and `dlsp doctor` say how.",
    "place_error": "The folder or the socket of the engine cannot be used; the message says what to change.",
    "checkpoint_error": "The model's files cannot be used; `dlsp doctor` names what is wrong with them.",
    "unknown_family_error": "This kind of model is not known; `dlsp models` lists those that are.",
    "device_error": "The device cannot be used; the setting `device` names another one.",
    "config_error": "A setting of the engine is not valid; `dlsp doctor` names it.",
    "cpu_fallback": "The model runs on the CPU, because no GPU can be used; `dlsp doctor` says why.",
    "licence": "The model's licence has terms you should know; `dlsp models` shows them.",
    "idle": "The engine has ended after a while without work and starts again when it is needed.",
    "invalid_settings": "Some settings are not valid and are ignored; the log names them.",
}
"""Every reason that a report or an empty answer can have, in a sentence for people."""


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`state` is the engine's; `reason` belongs to the state (an error) or to the latest answer that had no text.

    `explanation` says the reason in a sentence, `message` what is special about this case. `latency_ms` is that of the latest
    answer, from the editor's request to ours; `progress` is 0 to 1 while the model loads. `enabled` says whether `language`,
    that of the document in use, gets completions; `snoozed_until_ms` is the end of a pause, in milliseconds since 1970, or 0.
    `reasons` counts the empty answers since the start.
    """

    state: State = "starting"
    reason: str = ""
    explanation: str = ""
    message: str = ""
    model: str = ""
    device: str = ""
    backend: str = ""
    latency_ms: float = 0.0
    progress: float = 0.0
    enabled: bool = True
    language: str = ""
    snoozed_until_ms: int = 0
    reasons: dict[str, int] = {}


Listener = Callable[[Report], None]

LOADING_STATES = frozenset({"starting", "loading", "downloading"})


class StatusBoard:
    """The present report. Listeners are called on every change of the engine and after every answer."""

    def __init__(self) -> None:
        self.report = Report()
        self._engine = Status(state="starting")
        self._answer_reason = ""
        self._reasons: Counter[str] = Counter()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every report from now on."""
        self._listeners.append(listener)

    @property
    def loading(self) -> bool:
        """The model is on its way: asking now would only mean waiting."""
        return self._engine.state in LOADING_STATES

    @property
    def failure(self) -> str:
        """What is wrong with the engine until somebody mends it, in a sentence; empty if nothing is, or if it mends itself."""
        return self._engine.message if self._engine.state == "error" and self._engine.reason != "host_lost" else ""

    @property
    def prompt_tokens(self) -> int:
        """How many tokens of context the model reads; 0 while that is not known."""
        return self._engine.prompt_tokens

    @property
    def reads_snippets(self) -> bool:
        """Whether the model takes text from other files."""
        return self._engine.reads_snippets

    def engine_changed(self, status: Status, backend: str) -> None:
        """The engine is in another state, or further with loading. What the latest answer lacked stays known while it serves."""
        self._engine = status
        kept = self._answer_reason if status.state in ("ready", "busy") and self._answer_reason != "loading" else ""
        self._tell(
            msgspec.structs.replace(
                self.report,
                state=status.state,
                reason=status.reason or kept,
                message=status.message,
                model=status.model or self.report.model,
                device=status.device or self.report.device,
                backend=backend,
                progress=status.progress,
            )
        )

    def answered(self, reason: str, latency_ms: float, message: str = "", language: str = "") -> None:
        """An answer went out; `reason` is empty if it had text. `message` is one sentence when something failed, `language` that
        of the document if it is known."""
        engine = self._engine
        self._answer_reason = reason
        if reason:
            self._reasons[reason] += 1
        self._tell(
            msgspec.structs.replace(
                self.report,
                state=engine.state,
                reason=reason or (engine.reason if engine.state == "error" else ""),
                message=message or engine.message,
                latency_ms=round(latency_ms, 1),
                reasons=dict(self._reasons),
                language=language or self.report.language,
                enabled=reason not in ("disabled", "disabled_language") if language else self.report.enabled,
            )
        )

    def in_use(self, language: str, enabled: bool) -> None:
        """The language of the document that the user is in, and whether it gets completions. Told only if it is news."""
        self._tell_news(msgspec.structs.replace(self.report, language=language, enabled=enabled))

    def snoozed(self, until_ms: int) -> None:
        """Completions pause until a moment, in milliseconds since 1970; 0 ends the pause. Told only if it is news."""
        self._tell_news(msgspec.structs.replace(self.report, snoozed_until_ms=until_ms))

    def settings_problems(self, problems: tuple[str, ...]) -> None:
        """Settings that are ignored."""
        self._tell(msgspec.structs.replace(self.report, reason="invalid_settings", message=" ".join(problems)))

    def _tell_news(self, report: Report) -> None:
        if report != self.report:
            self._tell(report)

    def _tell(self, report: Report) -> None:
        report = msgspec.structs.replace(report, explanation=REASONS.get(report.reason, ""))
        self.report = report
        for listener in self._listeners:
            listener(report)
