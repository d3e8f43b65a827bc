"""The filling of one task's holes: all at once, then one by one where a text does not fit, held to the grammar throughout.

Every hole has a ladder of further attempts; a hole that none of them suits stays as it was. Knows no protocol.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from dlsp import syntax
from dlsp.backends.base import Backend
from dlsp.documents import Snapshot
from dlsp.holes.openings import Filled, Filling, Opening, Wish, joined_tail, regroup, rendered, request_for
from dlsp.holes.stubs import is_stub
from dlsp.infilling.refit import Candidate, refit, without_end
from dlsp.infilling.surroundings import Surroundings
from dlsp.infilling.task import Task, reason_of, sentence
from dlsp.postprocess.brackets import closing
from dlsp.postprocess.draft import first_pieces
from dlsp.session import Session
from engine.api import Decoding, InfillRequest, InfillResult
from engine.errors import DlspError, HolesApartError, LoadingError

log = logging.getLogger(__name__)

OnProgress = Callable[[float, str], None]

SEEDS = 4
"""How many texts are asked for when the first one does not fit."""
_WARM = 0.6
_LEAST_SECONDS = 0.02
_TICK_SECONDS = 1.0
_WORTHWHILE_SECONDS = 2.0
"""In a smaller share of the time a slow machine finishes nothing: rather some holes are filled than none."""
_GRACE_SECONDS = 2.0
_LOADING_SECONDS = 30.0
_MOST_WHOLE_LINES = 5000
"""Documents up to this length are parsed whole to see whether a text fits, longer ones near the hole."""
_CHARACTERS_A_TOKEN = 3.5
_TOKENS_OF_ONE_LINE = 40
_TOKENS_AGAIN = 72
"""A body that went wrong at full length is tried shorter: several texts are asked for, and a model that runs on costs the most."""
_LEAST_KEPT = 1 / 3
"""A text that keeps less than this share of what stood there is no repair of it."""
_NEUTRAL: tuple[str | None, ...] = (None, "x", "", "x;")
"""What may stand in all holes so that a document parses without their texts; None: what stands there now."""


class _Step(msgspec.Struct, frozen=True):
    """A further attempt at one hole: the hole as it is asked for, and how. Without an opening: what there is, cut."""

    opening: Opening | None
    decoding: Decoding = Decoding()


class Plan(msgspec.Struct, frozen=True):
    """A task and what it means in the document `basis`: sorted holes apart from each other."""

    task: Task
    basis: Snapshot
    openings: tuple[Opening, ...]


class Work:
    """One run. `run` may be called once; it raises what the backend raises."""

    def __init__(self, session: Session, backend: Backend, plan: Plan, on_progress: OnProgress) -> None:
        self._session, self._backend, self._tell = session, backend, on_progress
        self._task, self._basis, self._openings = plan.task, plan.basis, plan.openings
        self._around = Surroundings(session)
        openings = plan.openings
        limit = session.settings.infill_deadline_ms
        self._until = time.monotonic() + limit / 1000 if limit else float("inf")
        self._candidates: list[list[Candidate]] = [[] for _ in openings]
        self._chosen: list[Candidate | None] = [None for _ in openings]
        self._neutral: list[str | None] | None = None
        self._faults: int | None = None
        self._late = self._cut_short = self._failed = False
        self._unreadable: set[int] = set()
        self._known_to_fit: dict[tuple[int, str], bool] = {}
        self._said_nothing = ""
        self._model = ""

    async def run(self) -> Filling:
        """Fill all holes."""
        count = len(self._openings)
        message = "Filling 1 hole." if count == 1 else f"Filling {count} holes."
        self._tell(0.05, message)
        self._neutral = self._neutral_texts()
        self._faults = self._faults_at_most() if self._neutral is None else None
        numbers = range(count)
        # The other half of the time is for texts that do not fit.
        ticking = asyncio.create_task(self._tick(message))
        try:
            await self._all(numbers, 0.5)
        finally:
            ticking.cancel()
        if self._task.kind != "repair":
            for number in numbers:
                # Each check may parse the whole document, and somebody may be typing in it.
                await asyncio.sleep(0)
                self._choose(number)
        left = [number for number in numbers if self._chosen[number] is None or self._task.kind == "repair"]
        for place, number in enumerate(left):
            if self._said_nothing == "superseded":
                break
            self._tell(0.6 + 0.4 * place / len(left), f"Trying hole {number + 1} of {count} again.")
            await self._settle(number, len(left) - place)
        for number in numbers:
            if self._chosen[number] is None:
                self._choose(number, hasty=True)
        self._agree()
        return self._filling()

    async def _tick(self, message: str) -> None:
        """Of a long wait one sees at least that it ends."""
        began = time.monotonic()
        while self._until != float("inf"):
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            self._tell(0.05 + 0.5 * min(1.0, (now - began) / (self._until - began)), message)

    # Asking

    async def _all(self, numbers: Sequence[int], share: float) -> None:
        """All holes jointly, or half by half where they are farther apart than the model reads, in a share of the time that is left."""
        try:
            await self._ask({number: self._openings[number] for number in numbers}, self._decoding(), share)
        except HolesApartError:
            first, second = regroup(numbers)
            part = share * len(first) / len(numbers)
            await self._all(first, part)
            for number in first:
                # The second half is to see what goes into the first one.
                self._choose(number)
            await self._all(second, (share - part) / (1 - part))

    async def _ask(self, wanted: Mapping[int, Opening], decoding: Decoding, share: float = 1.0) -> None:
        """One request for some of the holes, the others as they stand by now; its texts become candidates. It gets a share of the
        time that is left, which ends quietly once there is something to show. Raises HolesApartError for several holes."""
        left = self._until - time.monotonic()
        self._late = self._late or left < _LEAST_SECONDS
        if self._over:
            return
        left = max(left * share, min(left, _WORTHWHILE_SECONDS))
        texts = [None if number in wanted or chosen is None else chosen.text for number, chosen in enumerate(self._chosen)]
        snapshot, moved = rendered(self._basis, self._openings, texts)
        holes = [msgspec.structs.replace(opening, span=moved[number].span) for number, opening in wanted.items()]
        wish = Wish(
            client=self._session.origin.client,
            document=f"{self._task.uri}#{self._task.purpose}",
            deadline_ms=max(1, int(left * 1000)) if left != float("inf") else 0,
            decoding=decoding,
        )
        request = request_for(snapshot, holes, self._session.settings, self._around.added(wish, snapshot, holes[0].span.start))
        try:
            async with asyncio.timeout(None if left == float("inf") else left + _GRACE_SECONDS):
                result = await self._answer(request)
        except TimeoutError:
            self._late = True
            return
        except HolesApartError:
            if len(holes) > 1:
                raise
            self._unreadable.update(wanted)
            return
        except DlspError as error:
            if not any(self._candidates):
                raise
            # What is filled already is not lost because the model is.
            log.warning("The backend failed: %s", error)
            self._failed = True
            return
        self._take(list(wanted), holes, snapshot, result)

    async def _answer(self, request: InfillRequest) -> InfillResult:
        try:
            return await self._backend.infill(request)
        except LoadingError:
            if not await self._session.wait_until_loaded(_LOADING_SECONDS):
                raise
        return await self._backend.infill(request)

    @property
    def _over(self) -> bool:
        """Whether there is no sense in asking for anything more."""
        return self._late or self._failed or self._said_nothing == "superseded"

    def _take(self, numbers: Sequence[int], holes: Sequence[Opening], snapshot: Snapshot, result: InfillResult) -> None:
        self._model = result.model or self._model
        self._cut_short = self._cut_short or result.finish == "deadline"
        self._said_nothing = result.reason or self._said_nothing
        for fills in (result.fills, *result.others):
            for place, (number, opening, said) in enumerate(zip(numbers, holes, fills, strict=False)):
                tail = joined_tail(snapshot, opening) if place == len(holes) - 1 else ""
                candidate = refit(snapshot, opening, without_end(said, tail), self._task.style)
                known = {each.text for each in self._candidates[number]}
                if candidate is not None and candidate.text not in known:
                    self._candidates[number].append(msgspec.structs.replace(candidate, hasty=result.finish == "deadline"))

    def _decoding(self) -> Decoding:
        task = self._task
        count = max(task.alternatives, SEEDS if task.stretch != 1 or task.differs else 1)
        if task.seed or task.differs:
            return self._sampled(task.seed, count)
        return Decoding(alternatives=count)

    def _sampled(self, seed: int, count: int = SEEDS) -> Decoding:
        return Decoding(temperature=_WARM, top_p=0.95, seed=seed, alternatives=count)

    # Choosing

    async def _settle(self, number: int, open_holes: int) -> None:
        """Find a text for a hole, taking further steps as long as none fits; `open_holes` share the time that is left."""
        if number in self._unreadable:
            return
        if self._task.kind == "repair":
            # Of many texts that are right, the one that changes the least is the repair, and often that is a bracket that nobody closed.
            if syntax.error_spans(self._basis, self._openings[number].span):
                self._candidates[number] += _closed(self._openings[number].draft)
            await self._ask({number: self._opened_wide(number)}, Decoding(alternatives=SEEDS), 0.5 / open_holes)
            if self._choose(number):
                return
        steps = list(self._steps(number))
        for place, step in enumerate(steps):
            await asyncio.sleep(0)
            if step.opening is None:
                if await self._choose_part(number):
                    return
                continue
            if self._over:
                continue
            # The last steps are the surest ones: earlier ones must leave time for them, and for the other holes.
            further = sum(later.opening is not None for later in steps[place + 1 :])
            await self._ask({number: step.opening}, step.decoding, 1 / (open_holes * (1 + further) + (open_holes > 1)))
            if self._choose(number):
                return

    def _steps(self, number: int) -> Iterator[_Step]:
        opening, task = self._openings[number], self._task
        if task.stretch > 1:
            slots = min(int(len(opening.draft) / _CHARACTERS_A_TOKEN * task.stretch), 256)
            yield _Step(opening, Decoding(length="fixed", slots=max(4, slots)))
            return
        if task.stretch < 1:
            yield _Step(None)
            return
        if task.kind == "refine":
            noisier = msgspec.structs.replace(opening, noise=min(1.0, opening.noise + 0.2))
            if 0 < opening.noise < 1:
                yield _Step(noisier, self._sampled(task.seed + 1))
            return
        again = self._opened_wide(number) if task.kind == "repair" else opening
        if opening.stub:
            again = msgspec.structs.replace(again, max_tokens=min(opening.max_tokens, _TOKENS_AGAIN))
        # Where the time was too short for all holes at once, it is too short for many texts of one.
        yield _Step(again, Decoding() if self._cut_short and task.kind == "holes" else self._sampled(task.seed + 1))
        if task.kind == "repair":
            # What is cut off would be the user's own text.
            return
        yield _Step(None)
        if opening.locked:
            return
        short = msgspec.structs.replace(opening, max_lines=1, max_tokens=_TOKENS_OF_ONE_LINE)
        if opening.max_lines != 1:
            yield _Step(short, Decoding(alternatives=SEEDS))
        if opening.function and self._basis.language == "python":
            # A function that returns a value is better than a stub, and this is nearly always a sentence.
            yield _Step(msgspec.structs.replace(short, lead=opening.lead + "return "), Decoding(alternatives=SEEDS))

    def _opened_wide(self, number: int) -> Opening:
        opening = self._openings[number]
        lines = opening.draft.count("\n") + 2
        return msgspec.structs.replace(opening, noise=1.0, max_lines=max(opening.max_lines, lines))

    def _choose(self, number: int, *, hasty: bool = False) -> bool:
        """Take the best text that fits. Of many holes, some may be done again: one that was cut short is for the end."""
        hasty = hasty or len(self._openings) == 1
        fits = (each for each in self._ordered(number) if (hasty or not each.hasty) and self._fits(number, each.text))
        if fitting := next(fits, None):
            self._chosen[number] = fitting
        return fitting is not None

    async def _choose_part(self, number: int) -> bool:
        """The first lines of a candidate, as many as fit."""
        for candidate in self._candidates[number]:
            rows = candidate.text.split("\n")
            for count in range(len(rows) - 1, 0, -1):
                await asyncio.sleep(0)
                if time.monotonic() > self._until + _GRACE_SECONDS:
                    return False
                text = "\n".join(rows[:count]).rstrip()
                if not is_stub(text) and self._fits(number, text):
                    self._chosen[number] = Candidate(
                        text=text, confidence=candidate.confidence, pieces=first_pieces(candidate.pieces, len(text))
                    )
                    return True
        return False

    def _ordered(self, number: int) -> list[Candidate]:
        candidates, opening = self._candidates[number], self._openings[number]
        if self._task.stretch != 1:
            return sorted(candidates, key=lambda each: len(each.text), reverse=self._task.stretch > 1)
        if self._task.kind == "repair":
            return sorted(candidates, key=lambda each: -_likeness(opening.draft, each.text))
        return candidates

    def _fits(self, number: int, text: str) -> bool:
        key = (number, text)
        if key not in self._known_to_fit:
            self._known_to_fit[key] = self._may_stand(number, text)
        return self._known_to_fit[key]

    def _may_stand(self, number: int, text: str) -> bool:
        """Whether a text may stand in a hole: it says something, and does the syntax no harm."""
        opening, task = self._openings[number], self._task
        if not text.strip() or (task.anew and text == opening.draft):
            return False
        if opening.stub and opening.max_lines != 1 and is_stub(text, of_function=opening.function):
            return False
        if task.kind == "repair" and _kept(opening.draft, text) < _LEAST_KEPT:
            return False
        if (task.stretch > 1 and len(text) <= len(opening.draft)) or (task.stretch < 1 and len(text) >= len(opening.draft)):
            return False
        if self._neutral is not None:
            texts = list(self._neutral)
            texts[number] = text
            return syntax.parses(self._basis.language, rendered(self._basis, self._openings, texts)[0].text) is not False
        texts = [text if each == number else None for each in range(len(self._openings))]
        snapshot, moved = rendered(self._basis, self._openings, texts)
        before, after = len(syntax.error_spans(self._basis, opening.span)), len(syntax.error_spans(snapshot, moved[number].span))
        if task.kind == "repair" and before:
            return after < before
        if after > before or syntax.introduces_error(self._basis, opening.span, text):
            return False
        # What a text merely leaves open counts as an error here: nobody types on.
        return self._faults is None or (syntax.fault_count(self._basis.language, snapshot.text) or 0) <= self._faults

    def _neutral_texts(self) -> list[str | None] | None:
        """What may stand in the holes so that the document parses; None if nothing does, or it is too long to be parsed whole."""
        if len(self._basis.lines) > _MOST_WHOLE_LINES:
            return None
        for neutral in _NEUTRAL:
            texts = [None if neutral is None else opening.lead + neutral for opening in self._openings]
            parsed = syntax.parses(self._basis.language, rendered(self._basis, self._openings, texts)[0].text)
            if parsed is None:
                return None
            if parsed:
                return texts
        return None

    def _faults_at_most(self) -> int | None:
        """How many faults the document has, as it is or without the holes' texts; None where nobody can tell, or it is too long."""
        if len(self._basis.lines) > _MOST_WHOLE_LINES:
            return None
        bare = rendered(self._basis, self._openings, ["x"] * len(self._openings))[0].text
        counts = [syntax.fault_count(self._basis.language, text) for text in (self._basis.text, bare)]
        return max((count for count in counts if count is not None), default=None)

    def _agree(self) -> None:
        """Texts that fit one by one must do so together; as long as they do not, the last one goes."""
        if self._neutral is None:
            return
        while sum(chosen is not None for chosen in self._chosen) > 1:
            texts = [neutral if chosen is None else chosen.text for chosen, neutral in zip(self._chosen, self._neutral, strict=True)]
            if syntax.parses(self._basis.language, rendered(self._basis, self._openings, texts)[0].text) is not False:
                return
            last = max(number for number, chosen in enumerate(self._chosen) if chosen is not None)
            self._chosen[last] = None

    # The end

    def _filling(self) -> Filling:
        holes = []
        for number, (opening, chosen) in enumerate(zip(self._openings, self._chosen, strict=True)):
            if chosen is not None:
                others = self._others(number, chosen)
                holes.append(Filled(span=opening.span, text=chosen.text, confidence=chosen.confidence, pieces=chosen.pieces, others=others))
        filling = Filling(basis=self._basis, holes=tuple(holes), skipped=len(self._openings) - len(holes), model=self._model)
        if holes:
            hasty = any(chosen is not None and chosen.hasty for chosen in self._chosen)
            why = self._why_not_all() if filling.skipped else "hasty" if hasty else ""
            return msgspec.structs.replace(filling, message=sentence(why) if why else "")
        why = self._why()
        return msgspec.structs.replace(filling, reason=reason_of(why), message=sentence(why))

    def _why_not_all(self) -> str:
        if self._failed:
            return "rest_failed"
        return "rest_deadline" if self._late or self._cut_short else "rest_syntax"

    def _others(self, number: int, chosen: Candidate) -> tuple[str, ...]:
        if self._task.alternatives < 2:
            return ()
        rest = [each.text for each in self._ordered(number) if each.text != chosen.text and self._fits(number, each.text)]
        return tuple(rest[: self._task.alternatives - 1])

    def _why(self) -> str:
        """The id of the sentence that says why no hole was filled."""
        texts = [(opening, each.text) for opening, found in zip(self._openings, self._candidates, strict=True) for each in found]
        if self._said_nothing in ("superseded", "cancelled", "deadline"):
            return self._said_nothing
        if self._failed:
            return "backend_error"
        if self._late or self._cut_short:
            return "deadline"
        if self._unreadable:
            return "holes_apart"
        if not texts:
            return self._said_nothing or "empty_output"
        if self._task.stretch != 1:
            return "stretch"
        if self._task.kind == "repair":
            return "no_repair"
        return "unchanged" if self._task.anew and all(text == opening.draft for opening, text in texts) else "syntax"


def _closed(text: str) -> Iterator[Candidate]:
    """The text with what it leaves open closed at the end of one of its lines, or before the mark that ends the line."""
    rows = text.split("\n")
    for row, line in enumerate(rows):
        written = line.rstrip()
        mark = written[-1:] if written.endswith((":", ",", ";")) else ""
        if closers := closing("\n".join([*rows[:row], written])):
            yield Candidate(text="\n".join([*rows[:row], written.removesuffix(mark) + closers + mark, *rows[row + 1 :]]), confidence=0.0)


def _likeness(old: str, new: str) -> float:
    return difflib.SequenceMatcher(None, old, new, autojunk=False).ratio()


def _kept(old: str, new: str) -> float:
    """The share of a text's characters, white space aside, that a later text still has in their order."""
    before, after = "".join(old.split()), "".join(new.split())
    matching = difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return sum(block.size for block in matching) / max(1, len(before))
