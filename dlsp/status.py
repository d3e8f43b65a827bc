"""What the user may know about the server right now: one report, kept up to date and told to whoever listens.

Every report of an answer without text has a machine-readable reason. Knows neither the protocol nor how reports are shown.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from engine.api import State, Status


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`state` is the engine's; `reason` belongs to the state (an error) or to the latest answer that had no text.

    `latency_ms` is that of the latest answer, from the editor's request to ours; `progress` is 0 to 1 while the model loads.
    """

    state: State = "starting"
    reason: str = ""
    message: str = ""
    model: str = ""
    device: str = ""
    backend: str = ""
    latency_ms: float = 0.0
    progress: float = 0.0


Listener = Callable[[Report], None]

LOADING_STATES = frozenset({"starting", "loading", "downloading"})


class StatusBoard:
    """The present report. Listeners are called on every change of the engine and after every answer."""

    def __init__(self) -> None:
        self.report = Report()
        self._engine = Status(state="starting")
        self._answer_reason = ""
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every report from now on."""
        self._listeners.append(listener)

    @property
    def loading(self) -> bool:
        """The model is on its way: asking now would only mean waiting."""
        return self._engine.state in LOADING_STATES

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

    def answered(self, reason: str, latency_ms: float, message: str = "") -> None:
        """An answer went out; `reason` is empty if it had text. `message` is one sentence when something failed."""
        engine = self._engine
        self._answer_reason = reason
        self._tell(
            msgspec.structs.replace(
                self.report,
                state=engine.state,
                reason=reason or (engine.reason if engine.state == "error" else ""),
                message=message or engine.message,
                latency_ms=round(latency_ms, 1),
            )
        )

    def settings_problems(self, problems: tuple[str, ...]) -> None:
        """Settings that are ignored."""
        self._tell(msgspec.structs.replace(self.report, reason="invalid_settings", message=" ".join(problems)))

    def _tell(self, report: Report) -> None:
        self.report = report
        for listener in self._listeners:
            listener(report)
