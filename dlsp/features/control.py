"""Commands that switch completions off and on, for a while or for a language, forget what was learned, and name the log file.

They hold until the editor ends and change no setting. What they mean for an answer is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from dlsp.features.protocol import Server
from dlsp.log import counts_file, log_file
from dlsp.pace import Pace
from dlsp.session import Session

SNOOZE_MINUTES = 10.0
_MOST_MINUTES = 24 * 60.0


def register(server: Server, session: Session) -> None:
    """Take part as commands. Each answers what holds now, and says it in one sentence."""
    alarm = _Alarm(session)

    def told(sentence: str, **facts: Any) -> dict[str, Any]:
        show_state(session)
        server.window_show_message(types.ShowMessageParams(types.MessageType.Info, f"dlsp: {sentence}"))
        report = session.status.report
        return {"enabled": report.enabled, "snoozedUntilMs": report.snoozed_until_ms, "message": sentence, **facts}

    def wake() -> None:
        session.overrides.snoozed_until, session.overrides.disabled = 0.0, False
        session.overrides.off.clear()
        alarm.stop()

    @server.command("dlsp.snooze")
    async def snooze(argument: dict[str, Any]) -> dict[str, Any]:
        minutes = argument.get("minutes", SNOOZE_MINUTES)
        if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= _MOST_MINUTES:
            raise JsonRpcInvalidParams(f"`minutes` must be a number above 0, up to {_MOST_MINUTES:g}.")
        session.overrides.snoozed_until = time.monotonic() + 60 * minutes
        alarm.ring_at(session.overrides.snoozed_until)
        return told(f"Nothing is offered unasked for {minutes:g} minute{'' if minutes == 1 else 's'}; resume completions to end that.")

    @server.command("dlsp.resume")
    async def resume(argument: dict[str, Any]) -> dict[str, Any]:
        wake()
        if not session.settings.enabled:
            return told("Completions stay off, because the setting `enabled` says so.")
        return told("Completions are on.")

    @server.command("dlsp.toggle")
    async def toggle(argument: dict[str, Any]) -> dict[str, Any]:
        language = argument.get("language", "")
        if not isinstance(language, str):
            raise JsonRpcInvalidParams("`language` must be the id of a language, such as python.")
        overrides = session.overrides
        if not session.settings.enabled:
            return told("Completions stay off, because the setting `enabled` says so.", language=language)
        if not language:
            overrides.disabled = not overrides.disabled
            return told(f"Completions are {'off' if overrides.disabled else 'on'}.", language="")
        if not session.settings.offers(language):
            return told(f"Completions stay off in {language}; the setting `languages` switches them on.", language=language)
        overrides.off ^= {language}
        if not session.status.report.language:
            # Nothing was asked for yet, so this is the language that the user is in.
            session.status.in_use(language, language not in overrides.off)
        return told(f"Completions are {'off' if language in overrides.off else 'on'} in {language}.", language=language)

    @server.command("dlsp.reset")
    async def reset(argument: dict[str, Any]) -> dict[str, Any]:
        wake()
        await session.flights.cancel_all()
        session.suggestions.clear()
        session.pace = Pace()
        return told("Everything that was switched or remembered since the start is forgotten.")

    @server.command("dlsp.logFile")
    async def name_log_file(argument: dict[str, Any]) -> dict[str, Any]:
        path = log_file()
        facts = {"log": str(path), "counts": str(counts_file())}
        if path.exists() and get_capability(server.client_capabilities, "window.show_document.support"):
            try:
                shown = await server.window_show_document_async(types.ShowDocumentParams(uri=path.as_uri(), take_focus=True))
                if shown.success:
                    return facts
            except JsonRpcException:
                # Then the sentence has to do.
                pass
        return told(f"The log is {path}.", **facts)


def show_state(session: Session, uri: str = "") -> None:
    """Bring the status up to date: with the pause, and with the language in use, that of a document if one is named."""
    overrides, status = session.overrides, session.status
    language = session.documents[uri].snapshot.language if uri in session.documents else status.report.language
    enabled = session.settings.enabled and not overrides.disabled
    if language:
        enabled = enabled and language not in overrides.off and session.settings.offers(language)
    status.in_use(language, enabled)
    left = overrides.snoozed_until - time.monotonic()
    # To the second: computed anew for each report it would otherwise differ by a millisecond and be news.
    status.snoozed(round(time.time() + left) * 1000 if left > 0 else 0)


class _Alarm:
    """Tells the status when a pause is over."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._handle: asyncio.TimerHandle | None = None

    def ring_at(self, moment: float) -> None:
        """At a moment of the monotonic clock; it takes the place of the last one."""
        self.stop()
        seconds = max(0.0, moment - time.monotonic())
        self._handle = asyncio.get_running_loop().call_later(seconds, show_state, self._session)

    def stop(self) -> None:
        """Not at all."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
