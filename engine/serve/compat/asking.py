"""One question in any protocol's words as an infill request, and its answer as it grows. Knows no protocol and no HTTP.

What is shown never has to be taken back: text is passed on from the left, as far as it is committed and no ending can cut it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from engine.api import Decoding, Hole, InfillRequest, InfillResult, Limits, Snippet, empty_result
from engine.errors import HostError, RequestError
from engine.serve.compat.endings import Cut, Endings
from engine.serve.live import OnStep
from engine.serve.service import EngineService

if TYPE_CHECKING:
    from engine.runtime.engine import CanvasView

MOST_TOKENS = 512
"""Requests run one after another: a longer one would keep an editor waiting that shares the engine."""

USUAL_TOKENS = 128
"""Where the client names no number."""

MOST_CHOICES = 8

MASK = "░"
"""What stands for a masked slot where a whole canvas is shown."""

_SNIPPET_SHARE = 0.25
_REPLACEMENT = "\ufffd"


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A question. `n` answers, greedy where `temperature` is 0; `deadline_ms` and `patience_ms` 0 mean no limit.

    Patience is over when so much time has passed since the first step and there is a whole line. `diffusing` asks for
    whole canvases instead of text from the left.
    """

    prefix: str
    suffix: str = ""
    snippets: tuple[Snippet, ...] = ()
    max_tokens: int = USUAL_TOKENS
    endings: Endings = Endings()
    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    deadline_ms: int = 0
    patience_ms: int = 0
    stream: bool = False
    diffusing: bool = False


class Delta(msgspec.Struct, frozen=True):
    """Text that comes behind what was passed on before."""

    text: str


class Drawn(msgspec.Struct, frozen=True):
    """The whole canvas after a step: committed text with a `MASK` for each slot that is still open."""

    text: str
    step: int


class Choice(msgspec.Struct, frozen=True):
    """One answer. `ended` says what ended it: the model (`end`), a stop string (`stop`), or a limit (`length`)."""

    text: str
    ended: str
    tokens: int
    stop: str = ""


class Answer(msgspec.Struct, frozen=True):
    """All there is to say, at the end. `rest` is what of the first choice has not been passed on yet."""

    choices: tuple[Choice, ...]
    rest: str
    result: InfillResult

    @property
    def tokens(self) -> int:
        """Tokens of all choices together."""
        return sum(choice.tokens for choice in self.choices)


Event = Delta | Drawn | Answer


async def answers(service: EngineService, ask: Ask, turn: asyncio.Lock) -> AsyncGenerator[Event, None]:
    """What there is to pass on, an Answer last. Closing the generator ends the request within a denoise step. The engine is asked
    while `turn` is held.

    Raises RequestError for what cannot be asked, LoadingError while the model loads, and HostError when the host ends.
    """
    if not 1 <= ask.n <= MOST_CHOICES:
        raise RequestError(f"The number of choices must be from 1 to {MOST_CHOICES}; it is {ask.n}.", "Ask for fewer.")
    if ask.max_tokens < 0:
        raise RequestError(f"The number of tokens cannot be {ask.max_tokens}.", f"Use a number from 0 to {MOST_TOKENS}.")
    if ask.max_tokens == 0:  # llama.vim warms the cache of another server this way
        nothing = InfillResult(fills=(), finish="length", reason="empty_output", model=service.status.model)
        yield Answer((Choice("", "length", 0),), "", nothing)
        return
    windows = "\r\n" in ask.prefix or "\r\n" in ask.suffix
    growth = _Growth(ask, steady=service.steady and ask.n == 1)
    queue: asyncio.Queue[Delta | Drawn | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def on_step(view: CanvasView) -> bool:
        for event in growth.see(view):
            loop.call_soon_threadsafe(queue.put_nowait, event)
        return growth.enough

    look_on = ask.n == 1 and (ask.stream or ask.endings.stops or ask.endings.indent or ask.patience_ms)
    task = asyncio.ensure_future(_in_turn(service, ask, turn, on_step if look_on else None))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield _in_line_ends(event, windows)
        yield _in_line_ends(_answer(ask, task.result(), growth), windows)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _in_turn(service: EngineService, ask: Ask, turn: asyncio.Lock, on_step: OnStep | None) -> InfillResult:
    """The engine's answer. The deadline counts from here, the wait for the turn included."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(ask.deadline_ms / 1000 if ask.deadline_ms else None):
            await turn.acquire()
    except TimeoutError:
        return empty_result("deadline", "deadline", service.status.model)
    try:
        return await service.infill(_request(ask, int(1000 * (time.monotonic() - began))), on_step)
    finally:
        turn.release()


class _Growth:
    """What a text has come to, step by step. Lives on the engine thread; read from elsewhere only when the request is over."""

    def __init__(self, ask: Ask, *, steady: bool) -> None:
        self._ask, self._steady = ask, steady
        self._began = 0.0
        self._canvases = [0]
        self._finished = ""
        self.sent = ""
        self.enough = False
        self.cut: Cut | None = None

    def see(self, view: CanvasView) -> list[Delta | Drawn]:
        """What to pass on after this step."""
        self._began = self._began or time.monotonic()
        text = self._left(view)
        cut = self._ask.endings.cut(text)
        if self._steady and cut.by:
            self.enough, self.cut = True, cut
        patience = self._ask.patience_ms
        if patience and "\n" in text and (time.monotonic() - self._began) * 1000 >= patience:
            self.enough = True
        if not self._ask.stream:
            return []
        if self._ask.diffusing:
            return [Drawn(self._whole(view), view.step)]
        certain = cut.text if cut.by else self._ask.endings.settled(text)
        if not self._steady or len(certain) <= len(self.sent) or not certain.startswith(self.sent):
            return []
        more, self.sent = certain[len(self.sent) :], certain
        return [Delta(more)]

    def _left(self, view: CanvasView) -> str:
        """The committed text from the left, within the token limit; up to a character of which a part is still missing."""
        committed = 0
        while committed < len(view.slots) and view.slots[committed].state == "committed":
            committed += 1
        # A canvas only fills from the left; the next one begins behind what it said, which may be nothing but healed text.
        if view.text != self._finished or committed < self._canvases[-1]:
            self._finished = view.text
            self._canvases.append(0)
        self._canvases[-1] = committed
        text = view.text + "".join(slot.text for slot in view.slots[: min(committed, self._room)])
        return text.partition(_REPLACEMENT)[0]

    def _whole(self, view: CanvasView) -> str:
        """The canvas as it stands, within the token limit."""
        shown = [view.text]
        for slot in view.slots[: self._room]:
            if slot.state == "end":
                break
            shown.append(MASK if slot.state == "masked" else slot.text)
        return "".join(shown)

    @property
    def _room(self) -> int:
        """How many slots of the present canvas are within the token limit."""
        return max(0, min(self._ask.max_tokens, MOST_TOKENS) - sum(self._canvases[:-1]))


def _request(ask: Ask, waited_ms: int) -> InfillRequest:
    def clean(text: str) -> str:
        return text.replace("\r\n", "\n")

    deadline = max(1, ask.deadline_ms - waited_ms) if ask.deadline_ms else 0
    if ask.patience_ms and ask.n > 1:  # nobody looks on where several texts grow at once
        deadline = min(deadline or ask.patience_ms, ask.patience_ms)
    return InfillRequest(
        prefix=clean(ask.prefix),
        suffix=clean(ask.suffix),
        holes=(Hole(max_tokens=min(ask.max_tokens, MOST_TOKENS), max_lines=1 if "\n" in ask.endings.stops else ask.endings.lines),),
        snippets=ask.snippets,
        limits=Limits(deadline_ms=deadline, snippet_share=_SNIPPET_SHARE if ask.snippets else 0.0),
        decoding=Decoding(temperature=ask.temperature, top_p=ask.top_p, seed=ask.seed, alternatives=ask.n),
        # Without a document nothing is superseded: clients ask several things at once, and leave when they do not care any more.
        client="http",
    )


def _answer(ask: Ask, result: InfillResult, growth: _Growth) -> Answer:
    if result.finish in ("cancelled", "superseded") and not (growth.enough and result.fills):
        raise HostError("The engine host is shutting down.", "Try again in a moment.")
    if growth.cut or result.finish == "cancelled":  # what came to its own end in that very step is whole
        result = msgspec.structs.replace(result, finish="complete" if growth.cut else "deadline", reason=result.reason and "empty_output")
    fills = [fills[0] for fills in (result.fills, *result.others) if fills]
    choices = []
    for index, fill in enumerate(fills):
        # What the engine itself has cut off no longer says what ended the text.
        cut = growth.cut if growth.cut and not index else ask.endings.cut(fill.text)
        choices.append(Choice(cut.text, _ended(result, cut), fill.tokens, cut.stop))
    first = choices[0].text if choices else ""
    # A text from the left is how the answer begins; should it ever not be, nothing can be taken back.
    rest = first[len(growth.sent) :] if first.startswith(growth.sent) else ""
    return Answer(tuple(choices) or (Choice("", "length" if result.finish == "deadline" else "end", 0),), rest, result)


def _ended(result: InfillResult, cut: Cut) -> str:
    if cut.by:
        return "stop" if cut.by == "stop" else "end"
    return "end" if result.finish == "complete" else "length"


def _in_line_ends(event: Event, windows: bool) -> Event:
    """`event` with the line ends of the text that was sent."""
    if not windows:
        return event
    if isinstance(event, Answer):
        choices = tuple(msgspec.structs.replace(choice, text=_windows(choice.text)) for choice in event.choices)
        return msgspec.structs.replace(event, choices=choices, rest=_windows(event.rest))
    return msgspec.structs.replace(event, text=_windows(event.text))


def _windows(text: str) -> str:
    return text.replace("\n", "\r\n")
