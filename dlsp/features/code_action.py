"""textDocument/codeAction and its resolve: what can be filled here, told without asking the model; it is asked when the user chooses.

Clients that cannot resolve an edit get a command instead. Knows nothing of how holes are filled.
"""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from dlsp import syntax
from dlsp.documents import Point, Snapshot, Span
from dlsp.edits import Place, workspace_edit
from dlsp.features.infill import edit_style, tell, write_down
from dlsp.features.protocol import Server
from dlsp.features.wishes import COMMANDS, Argument, Wish, as_json, label_of, read_argument, task_of
from dlsp.holes.openings import Filling, lines_of, of_markers, text_of
from dlsp.infilling import fill, sentence
from dlsp.session import Session
from dlsp.trigger import gate

INFILL = "refactor.rewrite.dlsp.infill"
HOLES = "refactor.rewrite.dlsp.infillHoles"
REFINE = "refactor.rewrite.dlsp.refine"
ALTERNATIVES = "refactor.rewrite.dlsp.alternatives"
REPAIR = "quickfix.dlsp.repair"
_DATA_VERSION = 1
_MOST_DIAGNOSTICS = 3
_LONGEST_LOOK = 5000
"""Holes of longer documents are counted only in the lines around: the light bulb must not keep anybody waiting."""
_TITLE_CHARACTERS = 60
_COMMAND_OF: dict[Wish, str] = {**{wish: name for name, wish in COMMANDS.items()}, "alternatives": "dlsp.reroll"}


def register(server: Server, session: Session) -> None:
    """Offer actions and their edits."""
    actions = _Actions(server, session)
    kinds: list[types.CodeActionKind | str] = [INFILL, HOLES, REFINE, ALTERNATIVES, REPAIR]

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=kinds, resolve_provider=True),
    )
    async def code_action(params: types.CodeActionParams) -> list[types.CodeAction]:
        return actions.offered(params)

    @server.feature(types.CODE_ACTION_RESOLVE)
    async def resolve(action: types.CodeAction) -> types.CodeAction:
        raw = server.extras().params
        action.edit = await actions.edit(raw.get("data") if isinstance(raw, dict) else None)
        return action


class _Actions:
    """What is offered, and the edit that was computed last: clients may ask for the same one twice."""

    def __init__(self, server: Server, session: Session) -> None:
        self._server, self._session = server, session
        self._counted: tuple[tuple[str, ...], int] = ((), 0)
        self._known: tuple[str, Filling] | None = None

    def offered(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """Actions for a range. Takes a millisecond or two, as it is asked for with every move of the cursor."""
        session, context = self._session, params.context
        document = session.documents.get(params.text_document.uri)
        if document is None:
            return []
        snapshot = document.snapshot
        start, end = (snapshot.point((each.line, each.character), session.encoding) for each in (params.range.start, params.range.end))
        span = Span(min(start, end), max(start, end))
        if context.trigger_kind == types.CodeActionTriggerKind.Automatic and span.start == span.end:
            return []
        if not any(_asked_for(kind, context.only) for kind in (INFILL, HOLES, REFINE, ALTERNATIVES, REPAIR)):
            return []
        if gate(session.settings, snapshot.uri, snapshot.language, session.excluded(snapshot.uri), session.overrides):
            return []
        broken = session.status.report.message if session.status.report.state == "error" else ""
        if broken and not self._server.client.disabled:
            return []
        offers = [offer for offer in self._offers(snapshot, span, context) if _asked_for(offer.kind, context.only)]
        return [self._action(snapshot, offer, broken) for offer in offers]

    async def edit(self, data: object) -> types.WorkspaceEdit:
        """The edit of an action. Raises JsonRpcException, with a sentence, where there is none or the document is another one."""
        if not isinstance(data, dict) or data.get("v") != _DATA_VERSION:
            raise JsonRpcInvalidParams("The action is not one of this server's.")
        argument = read_argument({name: value for name, value in data.items() if name != "v"})
        snapshot = self._document(argument)
        key = json.dumps(data, sort_keys=True)
        # A document that was closed and opened again may have the same version and another text.
        if self._known is not None and self._known[0] == key and self._known[1].basis is snapshot:
            filling = self._known[1]
        else:
            task = msgspec.structs.replace(task_of(self._session, argument, argument.kind), purpose="preview")
            began = time.perf_counter()
            filling = await fill(self._session, task)
            write_down(self._session, argument.kind, filling, (time.perf_counter() - began) * 1000)
            if self._document(argument) is not snapshot:
                raise _changed()
            if not filling.holes:
                raise JsonRpcException(filling.message, types.LSPErrorCodes.RequestFailed.value)
            self._known = (key, filling)
            self._session.last_filling.offer(filling)
            tell(self._server, filling)
        place = Place(filling.basis, Point(0, 0), self._session.encoding)
        return workspace_edit(place, filling, edit_style(self._server, self._session), label_of(argument.kind, len(filling.holes)))

    def _document(self, argument: Argument) -> Snapshot:
        """The document that an action is about. Raises JsonRpcException if it is another one by now."""
        document = self._session.documents.get(argument.uri)
        if document is None or document.snapshot.version != argument.version:
            raise _changed()
        return document.snapshot

    def _offers(self, snapshot: Snapshot, span: Span, context: types.CodeActionContext) -> list[_Offer]:
        offers = []
        if span.start != span.end:
            offers += [
                _Offer(INFILL, "infill", "dlsp: Fill the selection", (span,)),
                _Offer(ALTERNATIVES, "alternatives", "dlsp: Fill the selection differently", (span,)),
            ]
            if text_of(snapshot, span).strip():
                offers.insert(1, _Offer(REFINE, "refine", "dlsp: Refine the selection", (span,)))
        if _asked_for(HOLES, context.only):
            here = len(of_markers(snapshot, span, self._session.settings.hole_markers))
            count = here or self._holes_of(snapshot)
            if count:
                offers.append(_Offer(HOLES, "holes", label_of("holes", count), (span,) if here else ()))
        if _asked_for(REPAIR, context.only):
            offers += self._repairs(snapshot, span, context)
        return offers

    def _holes_of(self, snapshot: Snapshot) -> int:
        """How many holes a document has; counted once for each text of it."""
        if len(snapshot.lines) > _LONGEST_LOOK:
            return 0
        if self._counted[0] is not snapshot.lines:
            self._counted = (snapshot.lines, len(of_markers(snapshot, None, self._session.settings.hole_markers)))
        return self._counted[1]

    def _repairs(self, snapshot: Snapshot, span: Span, context: types.CodeActionContext) -> list[_Offer]:
        grave = (None, types.DiagnosticSeverity.Error, types.DiagnosticSeverity.Warning)
        found = [each for each in context.diagnostics if each.severity in grave][:_MOST_DIAGNOSTICS]
        offers = []
        for diagnostic in found:
            ends = (diagnostic.range.start, diagnostic.range.end)
            start, end = sorted(snapshot.point((each.line, each.character), self._session.encoding) for each in ends)
            if start == end:
                # Some only say on which line something is wrong.
                start, end = Point(start.line, 0), Point(start.line, len(snapshot.line(start.line)))
            if not text_of(snapshot, Span(start, end)).strip():
                # Many parsers report what is missing behind the last line that says something; blanks themselves are a matter of style.
                row = next((number for number in range(start.line, -1, -1) if snapshot.line(number).strip()), -1)
                if row < 0 or diagnostic.severity == types.DiagnosticSeverity.Warning:
                    continue
                start, end = Point(row, 0), Point(row, len(snapshot.line(row)))
            said = " ".join(diagnostic.message.split())
            said = said if len(said) <= _TITLE_CHARACTERS else said[: _TITLE_CHARACTERS - 1] + "…"
            offers.append(_Offer(REPAIR, "repair", f"dlsp: Repair: {said}", (Span(start, end),), (diagnostic,)))
        if not found and (wrong := syntax.error_spans(snapshot, lines_of(snapshot, span))):
            offers.append(_Offer(REPAIR, "repair", "dlsp: Repair the syntax error", wrong[:1]))
        return offers

    def _action(self, snapshot: Snapshot, offer: _Offer, broken: str) -> types.CodeAction:
        client, place = self._server.client, Place(snapshot, offer.first, self._session.encoding)
        wish: dict[str, Any] = {"uri": snapshot.uri, "version": snapshot.version}
        if offer.spans:
            wish["ranges"] = [as_json(span, place) for span in offer.spans]
        action = types.CodeAction(title=offer.title, kind=offer.kind, diagnostics=list(offer.diagnostics) or None)
        if client.resolve_edit:
            action.data = {"v": _DATA_VERSION, "kind": offer.wish, **wish}
        else:
            action.command = types.Command(title=offer.title, command=_COMMAND_OF[offer.wish], arguments=[wish])
        if client.llm_tag:
            action.tags = [types.CodeActionTag.LlmGenerated]
        if broken:
            action.disabled = types.CodeActionDisabled(reason=broken)
        return action


class _Offer(msgspec.Struct, frozen=True):
    """What can be done: an action's kind, what it wants, what it is called, where, and which diagnostics it answers."""

    kind: str
    wish: Wish
    title: str
    spans: tuple[Span, ...]
    diagnostics: tuple[types.Diagnostic, ...] = ()

    @property
    def first(self) -> Point:
        return self.spans[0].start if self.spans else Point(0, 0)


def _changed() -> JsonRpcException:
    return JsonRpcException(sentence("changed_meanwhile"), types.LSPErrorCodes.ContentModified.value)


def _asked_for(kind: str, only: Any) -> bool:
    """Kinds are trees: who asks for `refactor` asks for all that begins with `refactor.`; the empty kind is the root."""
    if only is None:
        return True
    names = [str(getattr(each, "value", each)) for each in only]
    return any(not name or kind == name or kind.startswith(name + ".") for name in names)
