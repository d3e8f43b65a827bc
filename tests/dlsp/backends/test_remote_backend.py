"""RemoteBackend over loopback TCP: the token, a server that is away, and one that makes no sense."""

import asyncio
import sys

import pytest

from dlsp.backends.launch import launch
from dlsp.backends.remote import HttpEngineClient, RemoteBackend, team_server
from engine.api import HostAddress, InfillRequest
from engine.config import EngineConfig
from engine.errors import ConfigError, HostError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fixtures end hosts by signal")


@pytest.fixture
async def server(fake_hosts):
    fake_hosts.transport = "tcp"
    return await launch(fake_hosts.command(EngineConfig(model=str(fake_hosts.folder), idle_exit_seconds=30)), 15)


async def first(backend, *states):
    async with asyncio.timeout(5):
        async for status in backend.watch():
            if status.state in states:
                return status


async def test_it_follows_and_asks_a_server(server):
    backend = RemoteBackend(server.url + "/", server.token)
    assert (await first(backend, "ready")).pid == server.pid
    assert (await backend.infill(InfillRequest(prefix="hello"))).text == "hello"
    await backend.close()


async def test_a_wrong_token_is_said(server):
    backend = RemoteBackend(server.url, "wrong")
    says = "The server does not accept the token. Set `remoteToken` to the one it was started with."
    with pytest.raises(HostError) as caught:
        await backend.infill(InfillRequest(prefix="x"))
    assert str(caught.value) == says
    status = await first(backend, "error")
    assert (status.reason, status.message) == ("unreachable", says)
    await backend.close()


async def test_a_missing_token_is_said(server):
    client = team_server(server.url)
    with pytest.raises(HostError, match=r"The server asks for a token\. Set `remoteToken`"):
        await client.health()
    await client.close()


async def test_an_unknown_path_is_one_too_many(server):
    client = team_server(f"{server.url}/dlsp", server.token)
    with pytest.raises(HostError, match=r"There is no engine of dlsp at http://.*/dlsp \(HTTP status 404\).*without a path"):
        await client.health()
    await client.close()


async def test_a_server_that_is_away_is_an_error_and_a_state():
    backend = RemoteBackend("http://127.0.0.1:9")
    with pytest.raises(HostError) as caught:
        await backend.infill(InfillRequest(prefix="x"))
    assert str(caught.value) == (
        "The connection to http://127.0.0.1:9 could not be made (connection refused). Check remoteUrl and that the engine runs there."
    )
    assert (await first(backend, "error")).reason == "unreachable"
    watching = asyncio.create_task(first(backend, "ready"))
    await asyncio.sleep(0.01)
    await backend.close()
    assert await asyncio.wait_for(watching, 1) is None


async def test_a_name_nobody_knows_is_said():
    client = team_server("http://nowhere.invalid")
    with pytest.raises(HostError, match=r"could not be made \([a-z].*\)\. Check remoteUrl"):
        await client.health()
    await client.close()


async def test_https_where_there_is_only_http_is_said(server):
    client = team_server(server.url.replace("http:", "https:"))
    with pytest.raises(HostError, match=r"could not be made \(it answers without TLS: http instead of https\?\)"):
        await client.health()
    await client.close()


async def test_our_own_host_is_a_matter_for_the_doctor():
    client = HttpEngineClient(HostAddress(url="http://127.0.0.1:9", pid=1))
    with pytest.raises(HostError, match=r"could not be made \(connection refused\)\. Run `dlsp doctor`"):
        await client.health()
    await client.close()


def test_a_missing_address_is_refused():
    with pytest.raises(ConfigError) as caught:
        RemoteBackend("")
    assert str(caught.value) == (
        "`backend` is remote, but there is no `remoteUrl`. Set it to the server's address, such as https://dlsp.example.org."
    )


@pytest.mark.parametrize(
    "url",
    ["engine.example.com", "ftp://engine", "http://", "https:///x", "http://[", "http://a:b", "http://a:99999", "http://a b", "http://a\n"],
)
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigError, match="not the URL of an engine"):
        RemoteBackend(url)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/infill", "/dlsp/v1", "?token=x", "/#top"])
def test_a_path_of_ours_behind_the_address_is_refused(path):
    with pytest.raises(ConfigError, match=r"Set it without a path: https://engine\.example\.com:8012\."):
        RemoteBackend(f"https://engine.example.com:8012{path}")


@pytest.mark.parametrize("token", ["tökn", "token\n"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(ConfigError) as caught:
        RemoteBackend("http://engine", token)
    assert "remoteToken" in str(caught.value)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not a valid InfillResult"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops", "HTTP status 502"),
        (b'HTTP/1.1 500 X\r\nContent-Length: 41\r\n\r\n{"type":"SystemExit","message":"Strange."}'[:-1] + b"}", "Strange"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", "was lost"),
        (b"", "was lost"),
    ],
)
async def test_answers_that_make_no_sense(answer, text):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        writer.write(answer.replace(b"Content-Length: 41", b"Content-Length: %d" % len(body)) if b"41" in head else answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = HttpEngineClient(HostAddress(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", pid=1))
    with pytest.raises(HostError, match=text):
        await asyncio.wait_for(client.infill(InfillRequest(prefix="x")), 3)
    await client.close()
    server.close()
