"""Addresses to serve at, and doors that open and close, over real TCP."""

import asyncio
import socket

import httpx
import pytest

from engine.errors import ConfigError, HostError
from engine.serve.door import DoorOptions, bind, parse_door, url_of
from engine.serve.http import build_public_app
from engine.serve.listening import HostDoors, Listener


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8012", "127.0.0.1", 8012),
        ("8012", "127.0.0.1", 8012),
        (":9000", "127.0.0.1", 9000),
        ("localhost", "localhost", 8012),
        ("localhost:0", "localhost", 0),
        ("[::1]:8012", "::1", 8012),
        ("[::1]", "::1", 8012),
        ("http://127.0.0.1:8012/", "127.0.0.1", 8012),
    ],
)
def test_addresses(text, host, port):
    door = parse_door(text)
    assert (door.host, door.port, door.loopback) == (host, port, True)


@pytest.mark.parametrize("text", ["127.0.0.1:x", "127.0.0.1:99999", "http://127.0.0.1:8012/v1", "a b:1", "::1", "9" * 5000])
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match=r"no address|no port"):
        parse_door(text, "token")


def test_an_origin_is_what_browsers_say():
    assert parse_door("8012", origins=("https://Mine.example/", "*")).admission.origins == {"https://mine.example", "*"}
    for origin in ("mine.example", "https://mine.example/page"):
        with pytest.raises(ConfigError, match=r"no origin of a page.*SCHEME://HOST"):
            parse_door("8012", origins=(origin,))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "build.lan"])
def test_off_loopback_there_must_be_a_token(host):
    with pytest.raises(ConfigError, match=r"everybody in the network could use the engine, so it needs a token.*DLSP_HTTP_TOKEN"):
        DoorOptions(host=host)
    assert DoorOptions(host=host, token="secret").admission.hosts == frozenset()


@pytest.mark.parametrize("token", ["has space", "ümlaut", "a\nb"])
def test_a_token_must_fit_into_a_header(token):
    with pytest.raises(ConfigError, match="do not fit into a header"):
        DoorOptions(token=token)


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(HostError, match=rf"uses port {port} on 127.0.0.1 already.*--status"):
            bind(DoorOptions(port=port))


def test_an_address_of_somebody_else_is_named():
    with pytest.raises(HostError, match="cannot serve on 192.0.2.1"):
        bind(DoorOptions(host="192.0.2.1", token="secret", port=0))


async def test_a_door_stands_open_for_as_long_as_it_is_held(service):
    told = []
    doors = HostDoors(lambda admission: build_public_app(service, admission), told.append)
    async with doors.open(DoorOptions(port=0)) as first:
        async with doors.open(DoorOptions(port=0, token="right")) as second, httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{first.url}/health")).status_code == 200
            assert (await http.get(f"{second.url}/health")).status_code == 401
            answer = await http.post(f"{first.url}/infill", json={"prompt": "x", "n_predict": 9})
            assert answer.json()["content"] == "return a + b\n"
            assert told[-1] == (first.url, second.url)
        assert told[-1] == (first.url,)
        async with httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"{second.url}/health")
    assert told[-1] == ()


def test_a_name_with_addresses_of_both_kinds_is_served_where_most_tools_look(monkeypatch):
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [six, four])
    with bind(DoorOptions(host="localhost", port=0)) as listener:
        assert url_of(listener).startswith("http://127.0.0.1:")


async def test_the_same_door_twice_is_said_to_be_open(service):
    doors = HostDoors(lambda admission: build_public_app(service, admission), lambda urls: None)
    async with doors.open(DoorOptions(port=0)) as door:
        with pytest.raises(HostError, match=rf"This engine answers at {door.url} already"):
            async with doors.open(DoorOptions(port=int(door.url.rpartition(":")[2]))):
                pass


async def test_ipv6(service):
    doors = HostDoors(lambda admission: build_public_app(service, admission), lambda urls: None)
    try:
        async with doors.open(DoorOptions(host="::1", port=0)) as door, httpx.AsyncClient(trust_env=False) as http:
            assert door.url.startswith("http://[::1]:")
            assert (await http.get(f"{door.url}/health")).status_code == 200
    except HostError:
        pytest.skip("this machine has no IPv6")


async def test_an_idle_connection_outlives_those_of_the_clients(service):
    listener = Listener(build_public_app(service, DoorOptions().admission))
    assert listener.config.timeout_keep_alive > 60


async def test_the_client_leaving_over_tcp_ends_the_denoise_loop(service, scripted):
    scripted.script = ["x"] * 100_000
    scripted.step_seconds = 0.005
    doors = HostDoors(lambda admission: build_public_app(service, admission), lambda urls: None)
    async with doors.open(DoorOptions(port=0)) as door, httpx.AsyncClient(trust_env=False, timeout=20) as http:
        body = {"prompt": "x", "n_predict": 500, "stream": True}
        async with http.stream("POST", f"{door.url}/infill", json=body) as response:
            async for line in response.aiter_lines():
                assert line.startswith("data: ")
                break
        left = asyncio.get_running_loop().time()
        while not scripted.cancelled_at:
            assert asyncio.get_running_loop().time() - left < 5
            await asyncio.sleep(0.001)
        assert scripted.steps < 450
