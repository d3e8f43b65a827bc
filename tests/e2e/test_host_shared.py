"""Real language servers over stdio and the real engine host: sharing, killing, cancelling. The model is the embedded one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_stdio import Server, have_weights, home, host_pids
from watched_python import Watch

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds engine hosts through /proc, which this system lacks"),
    pytest.mark.skipif(not have_weights(), reason="the embedded weights are missing"),
]

LINES = [
    "class Point:",
    "    def __init__(self, x, y):",
    "        self.x = x",
    "        self.y = ",
    "",
    "    def norm(self):",
    "        return self.x",
    "",
]
SOURCE = "\n".join(LINES)
HOLE = (3, len(LINES[3]))
OPTIONS = {"minConfidence": 0, "deadlineMs": 0}


class Desk:
    """One user's machine: an environment, a project, and a hand on how fast the host denoises."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.watch = Watch(folder / "watch")
        self.env = env | self.watch.environment(network=True)
        self.project = folder / "project"
        self.project.mkdir()

    def hosts(self) -> list[int]:
        return host_pids(self.env["HOME"])

    def server(self) -> Server:
        return Server(self.env, cwd=self.project)

    def ready(self, server: Server, name: str) -> str:
        """Initialize, open a document and wait for the model; returns the document's uri."""
        server.initialize(OPTIONS, root=self.project)
        uri = server.open(self.project / name, SOURCE)
        server.wait_for_status("ready")
        return uri

    def wait_for_steps(self, more_than: int) -> None:
        end = time.monotonic() + 60
        while len(self.watch.steps()) <= more_than:
            assert time.monotonic() < end, "the request never reached the denoise loop"
            time.sleep(0.01)

    def settled_steps(self, server: Server) -> list[str]:
        """What the denoise loop has written down, once a request has ended in it."""
        server.until(lambda: self.watch.steps()[-1:] not in ([], ["step"]), "end of denoising", 20)
        return self.watch.steps()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with home() as env:
        yield Desk(env, tmp_path_factory.mktemp("desk"))


@pytest.fixture(autouse=True)
def fast(desk: Desk) -> Iterator[None]:
    yield
    desk.watch.slow(False)


def empty(answer: dict[str, Any]) -> bool:
    return not (answer["result"] or {}).get("items")


def unbothered(server: Server) -> bool:
    return not server.said("window/showMessage") and not server.said("window/showMessageRequest")


def test_two_editors_share_one_host(desk: Desk) -> None:
    with desk.server() as one, desk.server() as two:
        first, second = desk.ready(one, "one.py"), desk.ready(two, "two.py")
        assert one.served(first, *HOLE)
        assert two.served(second, *HOLE)
        assert len(desk.hosts()) == 1
        (host,) = desk.hosts()
        assert one.shut_down() == 0
        # The editor that stays keeps its host, and a third one finds the same.
        two.change(second, 2, SOURCE.replace("self.x = x", "self.x = 1"))
        assert two.served(second, *HOLE)
        with desk.server() as three:
            assert three.served(desk.ready(three, "three.py"), *HOLE)
            assert desk.hosts() == [host]


def test_cancelling_reaches_the_denoise_loop(desk: Desk) -> None:
    with desk.server() as server:
        uri = desk.ready(server, "cancel.py")
        desk.watch.slow(True)
        before = len(desk.watch.steps())
        request = server.inline(uri, *HOLE)
        desk.wait_for_steps(before + 3)
        at_cancel = len(desk.watch.steps())
        server.cancel(request)
        answer = server.answer(request, 15)
        assert "error" in answer or empty(answer)
        steps = desk.settled_steps(server)
        assert steps[-1] == "stopped"
        # One step may have been under way, and one may fall between our look and the cancel; the wire may take a few more.
        assert len(steps) - 1 - at_cancel <= 6
        desk.watch.slow(False)
        assert server.served(uri, *HOLE)


def test_newer_request_for_a_document_ends_the_older_one(desk: Desk) -> None:
    """As Neovim does: it types on, asks again, and never cancels."""
    with desk.server() as server:
        uri = desk.ready(server, "newer.py")
        desk.watch.slow(True)
        before = len(desk.watch.steps())
        older = server.inline(uri, *HOLE)
        desk.wait_for_steps(before + 3)
        desk.watch.slow(False)
        # Something that no answer to the older request can agree with.
        server.change(uri, 2, SOURCE.replace("        self.y = \n", "        zzz(\n"))
        newer = server.inline(uri, 3, len("        zzz("))
        assert "error" not in server.answer(newer)
        answer = server.answer(older, 15)
        assert "error" in answer or empty(answer)
        assert "stopped" in desk.settled_steps(server)[before:]
        assert unbothered(server)


def test_closing_the_editor_ends_its_request(desk: Desk) -> None:
    with desk.server() as other, desk.server() as server:
        desk.ready(other, "other.py")
        uri = desk.ready(server, "closing.py")
        desk.watch.slow(True)
        before = len(desk.watch.steps())
        server.inline(uri, *HOLE)
        desk.wait_for_steps(before + 3)
        server.process.kill()
        assert desk.settled_steps(other)[-1] == "stopped"


def test_host_killed_in_mid_request(desk: Desk) -> None:
    with desk.server() as server:
        uri = desk.ready(server, "killed.py")
        desk.watch.slow(True)
        before, said = len(desk.watch.steps()), len(server.statuses())
        request = server.inline(uri, *HOLE)
        desk.wait_for_steps(before + 2)
        desk.watch.slow(False)
        (host,) = desk.hosts()
        os.kill(host, signal.SIGKILL)
        answer = server.answer(request, 15)
        assert "error" not in answer, "the editor would show an error box"
        assert empty(answer)
        lost = server.until(lambda: [s for s in server.statuses()[said:] if s.get("reason")], "status with a reason")
        assert lost[0]["reason"]
        # Nobody does anything, and the next request works.
        server.change(uri, 2, SOURCE + "# on\n")
        assert server.served(uri, *HOLE)
        (successor,) = desk.hosts()
        assert successor != host
        assert unbothered(server)


def test_host_goes_when_nobody_needs_it(tmp_path: Path) -> None:
    with home() as env:
        desk = Desk(env, tmp_path)
        with desk.server() as server:
            server.initialize(OPTIONS | {"idleExitSeconds": 1}, root=desk.project)
            server.wait_for_status("ready")
            assert len(desk.hosts()) == 1
            server.shut_down()
        end = time.monotonic() + 60
        while desk.hosts():
            assert time.monotonic() < end, "the host is still there"
            time.sleep(0.1)
        assert not list(Path(env["XDG_RUNTIME_DIR"]).rglob("*.sock"))
