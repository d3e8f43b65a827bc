"""initialize's options, workspace/didChangeConfiguration, workspace/configuration and folders: the client's wishes into the session.

Names each value that is ignored once, in the client's log. Knows no setting by name but the log level.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.capabilities import get_capability

from dlsp.context.exclude import path_of
from dlsp.documents import Encoding
from dlsp.features import watched_files
from dlsp.features.control import show_state
from dlsp.features.protocol import Server
from dlsp.log import set_level
from dlsp.session import Session

log = logging.getLogger(__name__)

SECTION = "dlsp"
_PULL_SECONDS = 3.0


def register(server: Server, session: Session) -> None:
    """Take settings and folders from the client, at its start and whenever they change."""
    named: set[str] = set()
    early: list[str] = []
    pulls = _Pulls(server, session, named)

    @server.feature(types.INITIALIZE)
    async def initialize(params: types.InitializeParams) -> None:
        session.encoding = _encoding(server)
        session.set_roots(_roots(params))
        # Told at `initialized`: before its answer to `initialize` a server may not say much.
        early.extend(session.initial_options(params.initialization_options))

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        if get_capability(server.client_capabilities, "workspace.configuration"):
            await pulls.pull()
        else:
            _tell(server, session, session.configure(params.settings), named)

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    async def did_change_folders(params: types.DidChangeWorkspaceFoldersParams) -> None:
        removed = set(_paths(folder.uri for folder in params.event.removed))
        kept = [root for root in session.origin.roots if root not in removed]
        session.set_roots([*kept, *_paths(folder.uri for folder in params.event.added)])

    @server.feature(types.INITIALIZED)
    async def initialized(params: types.InitializedParams) -> None:
        if get_capability(server.client_capabilities, "workspace.did_change_configuration.dynamic_registration"):
            _subscribe(server)
        watched_files.subscribe(server, session)
        _tell(server, session, early, named)
        # The model named in the editor's settings is the one to load, not the default first and that one after.
        await pulls.pull()
        session.start()


class _Pulls:
    """The questions for our section that the client was asked, and the newest of its answers, however late."""

    def __init__(self, server: Server, session: Session, named: set[str]) -> None:
        self._server, self._session, self._named = server, session, named
        self._asked = self._taken = 0

    async def pull(self) -> None:
        """Ask the client, if it can be asked, and wait a little. Silence means that nothing changes for now."""
        if not get_capability(self._server.client_capabilities, "workspace.configuration"):
            return
        self._asked = number = self._asked + 1
        params = types.ConfigurationParams(items=[types.ConfigurationItem(section=SECTION)])
        answer = asyncio.wrap_future(self._server.workspace_configuration(params))
        done, _ = await asyncio.wait({answer}, timeout=_PULL_SECONDS)
        if done:
            self._take(number, answer)
        else:
            log.warning("The client has not told its configuration yet.")
            answer.add_done_callback(partial(self._take, number))

    def _take(self, number: int, answer: asyncio.Future[Sequence[Any]]) -> None:
        if number < self._taken or answer.cancelled():
            return
        if error := answer.exception():
            log.warning("The client did not tell its configuration: %s", type(error).__name__)
            return
        self._taken = number
        sections = answer.result()
        _tell(self._server, self._session, self._session.configure(sections[0] if sections else None), self._named)


def _tell(server: Server, session: Session, problems: Iterable[str], named: set[str]) -> None:
    set_level(session.settings.log_level)
    show_state(session)
    fresh = [problem for problem in problems if problem not in named]
    if not fresh:
        return
    named.update(fresh)
    for problem in fresh:
        log.warning("%s", problem)
    server.window_log_message(types.LogMessageParams(types.MessageType.Warning, "dlsp: " + " ".join(fresh)))
    session.status.settings_problems(tuple(fresh))


def _subscribe(server: Server) -> None:
    registration = types.Registration(
        id="dlsp-configuration",
        method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
        register_options=types.DidChangeConfigurationRegistrationOptions(section=SECTION),
    )
    server.client_register_capability(types.RegistrationParams([registration]))


def _encoding(server: Server) -> Encoding:
    """The first of the client's encodings that we know, which is what pygls tells the client; UTF-16 where it names none."""
    chosen = str(server.workspace.position_encoding)
    return "utf-8" if chosen.endswith("utf-8") else "utf-32" if chosen.endswith("utf-32") else "utf-16"


def _roots(params: types.InitializeParams) -> list[Path]:
    if params.workspace_folders:
        return _paths(folder.uri for folder in params.workspace_folders)
    if params.root_uri:
        return _paths([params.root_uri])
    return [Path(params.root_path)] if params.root_path else []


def _paths(uris: Iterable[str]) -> list[Path]:
    return [Path(path) for path in map(path_of, uris) if path is not None]
