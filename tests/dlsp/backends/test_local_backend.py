"""LocalBackend against real host processes with a fake engine: sharing, crashes, cancellation, stops, failures to start."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from dlsp.backends import launch
from dlsp.backends.launch import host_command, hygienic_environment
from engine.api import InfillRequest, WireError
from engine.config import EngineConfig
from engine.errors import CheckpointError, HostError, LoadingError, PlaceError, RequestError
from engine.serve import address as addresses

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

HOME = Path(__file__).parents[3]


async def wait_for_state(backend, *states, seconds=10.0):
    async with asyncio.timeout(seconds):
        async for status in backend.watch():
            if status.state in states:
                return status
    raise AssertionError(f"the watch ended without {states}")


async def until(condition, seconds=5.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        await asyncio.sleep(0.005)


def ask(prefix, **facts):
    return InfillRequest(prefix=prefix, **facts)


async def ready_infill(backend, prefix):
    """`infill` as a patient caller does it: again while the model loads."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await backend.infill(ask(prefix))
            except LoadingError:
                await asyncio.sleep(0.02)


async def test_it_starts_a_host_and_tells_the_states_on_the_way(fake_hosts):
    (fake_hosts.folder / "load_seconds").write_text("0.3")
    backend = fake_hosts.backend()
    seen = []
    async with asyncio.timeout(10):
        async for status in backend.watch():
            seen.append(status)
            if status.state == "ready":
                break
    states = list(dict.fromkeys(s.state for s in seen))
    assert states == ["starting", "loading", "ready"]
    assert any(s.progress == 0.5 for s in seen)
    assert seen[-1].pid == fake_hosts.loads()[0]
    assert seen[-1].model == "fake"
    assert (await backend.infill(ask("hello"))).text == "hello"


async def test_loading_is_an_error_at_once_and_cancelling_does_not_disturb_it(fake_hosts):
    (fake_hosts.folder / "load_seconds").write_text("0.5")
    backend = fake_hosts.backend()
    impatient = asyncio.create_task(backend.infill(ask("x")))
    await asyncio.sleep(0.01)
    impatient.cancel()
    with pytest.raises(LoadingError, match="still loading"):
        await backend.infill(ask("x"))
    assert (await ready_infill(backend, "y")).text == "y"
    assert len(fake_hosts.loads()) == 1


async def test_two_backends_share_one_host_which_survives_the_first_to_leave(fake_hosts):
    one, two = fake_hosts.backend(), fake_hosts.backend()
    first, second = await asyncio.gather(wait_for_state(one, "ready"), wait_for_state(two, "ready"))
    assert first.pid == second.pid != 0
    assert fake_hosts.loads() == [first.pid]
    await one.close()
    assert (await two.infill(ask("still here"))).text == "still here"
    with pytest.raises(HostError, match="was closed"):
        await one.infill(ask("x"))


async def test_a_host_killed_mid_request_is_an_error_and_the_next_request_works(fake_hosts):
    backend = fake_hosts.backend()
    before = await wait_for_state(backend, "ready")
    running = asyncio.create_task(backend.infill(ask("sleep 30")))
    await until(lambda: "start sleep 30" in fake_hosts.notes())
    states = []

    async def watch():
        async for status in backend.watch():
            states.append(status)

    watching = asyncio.create_task(watch())
    os.kill(before.pid, signal.SIGKILL)
    with pytest.raises(HostError) as caught:
        await asyncio.wait_for(running, 2)
    assert not isinstance(caught.value, LoadingError)
    assert (await ready_infill(backend, "next")).text == "next"
    assert len(set(fake_hosts.loads())) == 2
    reasons = [(s.state, s.reason) for s in states]
    lost = reasons.index(("error", "host_lost"))
    started = reasons.index(("starting", "starting"), lost)
    # Watchers see the latest state; on a busy machine that of loading may pass unseen.
    assert any(state in ("loading", "ready", "busy") for state, _ in reasons[started:])
    watching.cancel()


async def test_a_request_right_after_the_death_reaches_the_next_host(fake_hosts):
    backend = fake_hosts.backend()
    before = await wait_for_state(backend, "ready")
    where = addresses.running_hosts()[0].address
    os.kill(before.pid, signal.SIGKILL)
    # Without an await the supervisor has no chance to notice.
    while addresses.accepts(where):
        pass
    assert (await ready_infill(backend, "next")).text == "next"


async def test_cancelling_reaches_the_host_within_a_step(fake_hosts):
    backend = fake_hosts.backend()
    await wait_for_state(backend, "ready")
    running = asyncio.create_task(backend.infill(ask("sleep 30")))
    await until(lambda: "start sleep 30" in fake_hosts.notes())
    cancelled = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: any(line.startswith("cancelled ") for line in fake_hosts.notes()), 1.0)
    stopped = float(next(line for line in fake_hosts.notes() if line.startswith("cancelled ")).split()[1])
    assert stopped - cancelled < 0.25
    assert (await backend.infill(ask("after"))).text == "after"


async def test_a_newer_request_of_the_document_supersedes(fake_hosts):
    backend = fake_hosts.backend()
    await wait_for_state(backend, "ready")
    old = asyncio.create_task(backend.infill(ask("sleep 30", client="c", document="d")))
    await until(lambda: "start sleep 30" in fake_hosts.notes())
    assert (await backend.infill(ask("new", client="c", document="d"))).text == "new"
    assert (await old).reason == "superseded"


async def test_errors_come_back_as_what_they_were(fake_hosts):
    backend = fake_hosts.backend()
    await wait_for_state(backend, "ready")
    with pytest.raises(RequestError, match="nothing to fill") as refused:
        await backend.infill(ask("refuse"))
    assert refused.value.action == "Send a hole."
    with pytest.raises(HostError, match="ValueError"):
        await backend.infill(ask("fail"))
    with pytest.raises(RequestError, match="surrogate"):
        await backend.infill(ask("\ud800"))
    assert (await backend.infill(ask("after"))).text == "after"


async def test_a_broken_checkpoint_is_a_state_and_an_error(fake_hosts):
    (fake_hosts.folder / "load_error").write_text("The weights are corrupt.")
    backend = fake_hosts.backend()
    status = await wait_for_state(backend, "error")
    assert status.reason == "checkpoint_error"
    with pytest.raises(CheckpointError, match="corrupt"):
        await backend.infill(ask("x"))
    assert len(fake_hosts.loads()) == 1


async def test_a_stopped_host_stays_away_until_it_is_needed(fake_hosts):
    backend = fake_hosts.backend()
    before = await wait_for_state(backend, "ready")
    os.kill(before.pid, signal.SIGTERM)
    assert (await wait_for_state(backend, "idle")).reason == "stopped"
    await asyncio.sleep(0.3)
    assert len(fake_hosts.loads()) == 1
    assert (await ready_infill(backend, "again")).text == "again"
    assert len(fake_hosts.loads()) == 2


@pytest.mark.parametrize("pause", [0.0, 0.1])
async def test_a_request_during_the_goodbye_brings_a_new_host(fake_hosts, pause):
    backend = fake_hosts.backend()
    before = await wait_for_state(backend, "ready")
    os.kill(before.pid, signal.SIGTERM)
    await asyncio.sleep(pause)
    answered_by_new = False
    async with asyncio.timeout(5):
        while not answered_by_new:
            # Some of these meet the old host, some nobody, some the new one while it loads.
            with contextlib.suppress(HostError):
                assert (await backend.infill(ask("again"))).text == "again"
                answered_by_new = len(fake_hosts.loads()) == 2
            await asyncio.sleep(0.01)


async def test_a_stranger_at_the_address_is_not_asked(fake_hosts):
    first = fake_hosts.backend()
    await wait_for_state(first, "ready")
    where = addresses.running_hosts()[0].address
    lying = [sys.executable, "-c", f"print({msgspec.json.encode(msgspec.structs.replace(where, pid=1)).decode()!r})"]
    backend = fake_hosts.backend(lambda config: lying, crashes=1)
    assert "Something else answers" in (await wait_for_state(backend, "error")).message


async def test_a_folder_that_others_may_enter_is_said_at_once_and_not_tried_again(fake_hosts):
    wire = WireError(type="PlaceError", message="Other users have access to /run/x.", action="Run `chmod go-rwx /run/x`.")
    refusing = [sys.executable, "-c", f"print({msgspec.json.encode(wire).decode()!r})"]
    backend = fake_hosts.backend(lambda config: refusing, crashes=9)
    states = []

    async def watch():
        async for status in backend.watch():
            states.append(status)

    watching = asyncio.create_task(watch())
    await until(lambda: states and states[-1].state == "error")
    assert (states[-1].reason, states[-1].message) == ("place_error", f"{wire.message} {wire.action}")
    with pytest.raises(PlaceError, match="Other users"):
        await backend.infill(ask("x"))
    await asyncio.sleep(0.1)
    assert [s.reason for s in states if s.state == "error"] == ["place_error"]
    watching.cancel()


async def test_a_host_that_dies_again_and_again_is_given_up_until_later(fake_hosts):
    crashing = [sys.executable, "-c", "import sys; print('out of luck', file=sys.stderr); sys.exit(7)"]
    backend = fake_hosts.backend(lambda config: crashing, crashes=3, cool_down=0.3)
    states = []

    async def watch():
        async for status in backend.watch():
            states.append(status)

    watching = asyncio.create_task(watch())
    await until(lambda: states and states[-1].reason == "host_failed")
    assert [s.reason for s in states if s.state == "error"] == ["host_lost", "host_lost", "host_failed"]
    assert "status 7: out of luck" in states[-1].message
    assert "dlsp doctor" in states[-1].message
    began = time.monotonic()
    with pytest.raises(HostError, match="out of luck"):
        await backend.infill(ask("x"))
    assert time.monotonic() - began < 0.1
    await asyncio.sleep(0.3)
    with pytest.raises(HostError, match="out of luck"):
        await backend.infill(ask("x"))
    await until(lambda: [s.reason for s in states].count("host_failed") == 2)
    watching.cancel()


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["/no/such/python"], "cannot be started"),
        ([sys.executable, "-c", "print('hello')"], "makes no sense"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], "did not answer within 0.5 seconds"),
        ([sys.executable, "-c", """print('{"type": "LoadingError", "message": "No.", "action": "Wait."}')"""], "No. Wait."),
    ],
)
async def test_hosts_that_do_not_start(command, text):
    began = time.monotonic()
    with pytest.raises(HostError, match=text):
        await launch.launch(command, 0.5)
    assert time.monotonic() - began < 3


async def test_closing_while_the_host_starts_leaves_nobody_waiting(fake_hosts):
    backend = fake_hosts.backend()
    waiting = asyncio.create_task(backend.infill(ask("x")))
    watching = asyncio.create_task(wait_for_state(backend, "ready"))
    await asyncio.sleep(0.05)
    await backend.close()
    with pytest.raises(HostError, match="was closed"):
        await asyncio.wait_for(waiting, 1)
    with pytest.raises(AssertionError, match="the watch ended"):
        await asyncio.wait_for(watching, 1)


async def test_the_token_way_works_too(fake_hosts, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    fake_hosts.transport = "tcp"
    backend = fake_hosts.backend()
    assert (await ready_infill(backend, "hello")).text == "hello"


HOSTILE = "raise SystemExit('the wrong engine was imported')"


async def test_a_hostile_engine_folder_is_not_run(runtime, tmp_path, monkeypatch):
    project = tmp_path / "project"
    for folder in (project / "engine", project / "engine" / "serve"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(HOSTILE)
    (project / "engine" / "serve" / "host.py").write_text(HOSTILE)
    (project / "json.py").write_text(HOSTILE)
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(project)]))
    address = await launch.launch(host_command(EngineConfig(model="no-such-model", idle_exit_seconds=0.2)), 15)
    assert address.pid
    assert Path(address.socket).parent == runtime / "dlsp"


def test_the_search_path_of_the_host(monkeypatch, tmp_path):
    harmless, hostile, single = tmp_path / "harmless", tmp_path / "hostile", tmp_path / "single"
    (hostile / "engine").mkdir(parents=True)
    harmless.mkdir()
    single.mkdir()
    (single / "engine.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "relative", str(hostile), str(single), str(harmless)]))
    checkout = hygienic_environment()["PYTHONPATH"].split(os.pathsep)
    assert checkout == [str(HOME), str(harmless)]
    monkeypatch.setattr(launch, "_site_folders", lambda: {HOME})
    assert hygienic_environment()["PYTHONPATH"] == str(harmless)
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in hygienic_environment()


def test_importing_the_backend_is_cheap():
    code = "import sys, dlsp.backends, dlsp.backends.local; print([m for m in ('torch', 'httpx', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(HOME)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
