"""workspace/didChangeWatchedFiles and textDocument/didSave: tells the session which files changed on the disk.

Asks clients that can to watch source and ignore files. Knows nothing of what the session makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lsprotocol import types

from dlsp.features.protocol import Server

PATTERNS = (
    "**/*.{py,pyi,js,jsx,mjs,cjs,ts,tsx,mts,cts,go,rs,c,h,cc,cpp,cxx,hh,hpp,hxx,java,lua,sh,bash}",
    "**/{.gitignore,.dlspignore}",
    "**/.git/info/exclude",
)
"""What is watched: the files that the index reads, and those that say what may not be read."""


class Told(Protocol):
    """Whom this is told to; the session."""

    def files_changed(self, uris: Sequence[str]) -> None:
        """Files were written, made or removed; ignore files among them."""

    def files_are_watched(self) -> None:
        """From now on every change of a file is told."""


def register(server: Server, session: Told) -> None:
    """Take part in what happens to files."""

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    async def did_change_watched_files(params: types.DidChangeWatchedFilesParams) -> None:
        session.files_changed(tuple(dict.fromkeys(change.uri for change in params.changes)))

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    async def did_save(params: types.DidSaveTextDocumentParams) -> None:
        session.files_changed((params.text_document.uri,))


def subscribe(server: Server, session: Told) -> None:
    """Ask the client to watch files, if it can; to be called once it says `initialized`. A client that refuses is taken at its word."""
    if not server.client.watched_files:
        return
    watchers = [types.FileSystemWatcher(glob_pattern=pattern) for pattern in PATTERNS]
    registration = types.Registration(
        id="dlsp-watched-files",
        method=types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
        register_options=types.DidChangeWatchedFilesRegistrationOptions(watchers=watchers),
    )
    asked = server.client_register_capability(types.RegistrationParams([registration]))
    asked.add_done_callback(lambda done: None if done.cancelled() or done.exception() else session.files_are_watched())
