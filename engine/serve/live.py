"""Requests that somebody watches while they are denoised, and the engine that shows its steps to them.

It knows neither HTTP nor what the watcher makes of a step; the scheduler passes such a request on like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from engine.api import InfillRequest, InfillResult
from engine.runtime.scheduler import InfillEngine

if TYPE_CHECKING:
    from engine.runtime.engine import CanvasView  # imports torch, which a host does only on its engine thread

OnStep = Callable[["CanvasView"], bool]
"""Hears of each step on the engine thread. True means that this is enough: the request ends there, with what stands by then."""

_UNSTEADY = "hypotheses"
"""The length policy that denoises several canvases at once and may answer with another one than was shown."""


class LiveRequest(InfillRequest, frozen=True, kw_only=True):
    """A request with a watcher; it never crosses the wire."""

    on_step: OnStep


def watched(request: InfillRequest, on_step: OnStep) -> LiveRequest:
    """`request` with a watcher."""
    return LiveRequest(**msgspec.structs.asdict(request), on_step=on_step)


class LiveEngine:
    """An engine that takes both kinds of requests. `steady` says whether its answer is the canvas that it shows."""

    def __init__(self, engine: InfillEngine) -> None:
        self._engine = engine
        self.model, self.device, self.dtype = engine.model, engine.device, engine.dtype
        self.fallback_reason, self.notice, self.prompt_tokens = engine.fallback_reason, engine.notice, engine.prompt_tokens
        self.reads_snippets = engine.reads_snippets
        self.steady = getattr(getattr(engine, "defaults", None), "length", "") != _UNSTEADY

    def infill(self, request: InfillRequest, *, cancelled: Callable[[], bool] | None = None) -> InfillResult:
        """Fill the holes; a request that its watcher ends has finish `cancelled` and the text so far."""
        if not isinstance(request, LiveRequest):
            return self._engine.infill(request, cancelled=cancelled)
        enough = False

        def show(view: CanvasView) -> None:
            nonlocal enough
            enough = request.on_step(view) or enough

        def over() -> bool:
            return enough or (cancelled is not None and cancelled())

        return self._engine.infill(request, cancelled=over, on_step=show)  # type: ignore[call-arg]

    def close(self) -> None:
        """Free what is kept between requests."""
        self._engine.close()
