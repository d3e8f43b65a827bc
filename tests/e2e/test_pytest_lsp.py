"""A client that follows the protocol by itself (pytest-lsp, with the capabilities of real editors) against `dlsp serve --stdio`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from lsprotocol import types
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities

from lsp_stdio import DLSP, have_weights, home

pytestmark = pytest.mark.skipif(not have_weights(), reason="the embedded weights are missing")

URI = "file:///project/point.py"
SOURCE = """\
class Point:
    def __init__(self, x, y):
        self.x = x
        self.y =@

    def norm(self):
        return self.x
""".replace("@", " ")
HOLE = types.Position(line=3, character=17)


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with home() as env:
        yield env


@pytest.fixture(params=["visual-studio-code", "neovim"])
async def client(request: pytest.FixtureRequest, environment: dict[str, str]) -> AsyncIterator[LanguageClient]:
    connected = await ClientServerConfig(server_command=[*DLSP, "serve", "--stdio"], server_env=environment).start()
    assert isinstance(connected, LanguageClient)

    @connected.feature(types.CLIENT_REGISTER_CAPABILITY)
    def register(params: types.RegistrationParams) -> None: ...

    @connected.feature("dlsp/status")
    def status(*ignored: object) -> None: ...

    capabilities = client_capabilities(request.param)
    capabilities.window = capabilities.window or types.WindowClientCapabilities()
    capabilities.window.work_done_progress = True
    options = {"minConfidence": 0, "deadlineMs": 0}
    await connected.initialize_session(types.InitializeParams(capabilities=capabilities, initialization_options=options))
    document = types.TextDocumentItem(uri=URI, language_id="python", version=1, text=SOURCE)
    connected.text_document_did_open(types.DidOpenTextDocumentParams(text_document=document))
    yield connected
    await connected.shutdown_session()
    await connected.stop()


async def _ghost(client: LanguageClient) -> list[types.InlineCompletionItem]:
    params = types.InlineCompletionParams(
        text_document=types.TextDocumentIdentifier(uri=URI),
        position=HOLE,
        context=types.InlineCompletionContext(trigger_kind=types.InlineCompletionTriggerKind.Invoked),
    )
    answer = await client.text_document_inline_completion_async(params)
    assert answer is not None
    return list(answer.items if isinstance(answer, types.InlineCompletionList) else answer)


async def test_ghost_text_and_loading_progress(client: LanguageClient) -> None:
    items: list[types.InlineCompletionItem] = []
    async with asyncio.timeout(60):
        while not items:  # an invoked request waits a few seconds for the model; on a slow machine loading takes longer
            items = await _ghost(client)
    text = items[0].insert_text
    assert isinstance(text, str)
    assert text.strip()
    assert "\n" not in text
    shown = items[0].range
    assert shown is None or shown.start.line == shown.end.line == HOLE.line
    kinds = [type(report).__name__ for reports in client.progress_reports.values() for report in reports]
    assert kinds == [] or (kinds[0], kinds[-1]) == ("WorkDoneProgressBegin", "WorkDoneProgressEnd")
    assert client.messages == []


async def test_popup_completion_offers_the_same_place(client: LanguageClient) -> None:
    params = types.CompletionParams(
        text_document=types.TextDocumentIdentifier(uri=URI),
        position=HOLE,
        context=types.CompletionContext(trigger_kind=types.CompletionTriggerKind.Invoked),
    )
    items: list[types.CompletionItem] = []
    async with asyncio.timeout(60):
        while not items:
            answer = await client.text_document_completion_async(params)
            items = list(answer.items if isinstance(answer, types.CompletionList) else answer or [])
    assert 1 <= len(items) <= 2
    edit = items[0].text_edit
    assert edit is not None
    assert not any(item.preselect for item in items)
