"""The scripted backend, the feed of states and the registry."""

import asyncio

import pytest

from dlsp.backends import BACKENDS, BackendOptions, make_backend
from dlsp.backends.fake import Answer, FakeBackend
from dlsp.backends.feed import StatusFeed
from engine.api import InfillRequest, Status, empty_result
from engine.errors import ConfigError, HostError, LoadingError


def ask(prefix="x"):
    return InfillRequest(prefix=prefix)


async def test_the_script_is_followed_and_its_last_answer_repeated():
    backend = FakeBackend("one", LoadingError("Not yet."), empty_result("deadline", "deadline"), lambda r: r.prefix * 2)
    assert (await backend.infill(ask())).text == "one"
    with pytest.raises(LoadingError):
        await backend.infill(ask())
    assert (await backend.infill(ask())).reason == "deadline"
    assert (await backend.infill(ask("ab"))).text == "abab"
    assert (await backend.infill(ask("cd"))).text == "cdcd"
    assert len(backend.requests) == len(backend.answered) == 5


async def test_no_script_is_an_empty_answer_with_a_reason():
    assert (await FakeBackend().infill(ask())).reason == "empty_output"


async def test_cancellation_is_noted():
    gate = asyncio.Event()
    backend = FakeBackend(Answer(reply="late", gate=gate))
    waiting = asyncio.create_task(backend.infill(ask("a")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert (await backend.infill(ask("b"))).text == "late"
    assert [r.prefix for r in backend.cancelled] == ["a"]
    assert [r.prefix for r in backend.answered] == ["b"]


async def test_every_watcher_gets_every_change_until_the_end():
    feed = StatusFeed(Status(state="starting"))
    seen = {1: [], 2: []}

    async def watch(number):
        async for status in feed.watch():
            seen[number].append(status.state)

    tasks = [asyncio.create_task(watch(number)) for number in seen]
    await asyncio.sleep(0)
    for state in ("loading", "loading", "ready", "busy", "ready"):
        feed.publish(Status(state=state))
    feed.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 1)
    assert seen[1] == seen[2] == ["starting", "loading", "ready", "busy", "ready"]
    assert feed.current.state == "ready"
    assert [s async for s in feed.watch()] == []


async def test_a_watcher_that_leaves_is_forgotten():
    feed = StatusFeed(Status(state="ready"))
    watch = feed.watch()
    await anext(watch)
    assert len(feed._watchers) == 1
    await watch.aclose()
    assert not feed._watchers


def test_the_registry_makes_what_it_names():
    options = BackendOptions(url="https://engine.example.com", token="t")
    for name in BACKENDS:
        assert make_backend(name, options).name == name
    with pytest.raises(ConfigError, match=r"no backend 'cloud'.*local, remote, fake"):
        make_backend("cloud", options)
    with pytest.raises(ConfigError, match="no `remoteUrl`"):
        make_backend("remote", BackendOptions())


async def test_a_closed_backend_ends_its_watch():
    backend = FakeBackend(HostError("x"))
    watch = backend.watch()
    assert (await anext(watch)).state == "ready"
    await backend.close()
    assert [s async for s in watch] == []
    assert backend.closed
