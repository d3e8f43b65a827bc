"""Python start-up code for the processes under test, put before theirs through PYTHONPATH: an eye on the network and on denoising.

It changes nothing of ours: sockets to the network are written down and refused, and while a file named by DLSP_TEST_SLOW
exists, every denoise step takes a while and is written down.
"""

from __future__ import annotations

import os
from pathlib import Path

NETWORK_LOG = "DLSP_TEST_NETWORK_LOG"
SLOW = "DLSP_TEST_SLOW"
STEPS_LOG = "DLSP_TEST_STEPS_LOG"

STEP_SECONDS = 0.05
STEPS = 400
"""A watched request takes STEPS * STEP_SECONDS = 20 s unless something stops it."""

_SITE = """\
import os, socket, sys, time

def _note(variable, text):
    path = os.environ.get(variable)
    if path:
        with open(path, "a") as file:
            file.write(text + "\\n")

def _guard(name):
    real = getattr(socket.socket, name)
    def guarded(self, address, *rest):
        if self.family != getattr(socket, "AF_UNIX", None):
            _note("{network}", f"{{name}} {{address}} {{sys.orig_argv}}")
            raise OSError("no network in this test")
        return real(self, address, *rest)
    setattr(socket.socket, name, guarded)

if os.environ.get("{network}"):
    _guard("connect")
    _guard("connect_ex")

def _slow_denoising(module, name):
    real = getattr(module, name)
    def slowly(*arguments, **named):
        steps = real(*arguments, **named)
        if not os.path.exists(os.environ["{slow}"]):
            yield from steps
            return
        try:
            first = next(steps)
            for number in range({count}):
                _note("{steps}", "step")
                time.sleep({seconds})
                yield first
            yield from steps
            _note("{steps}", "finished")
        except GeneratorExit:
            _note("{steps}", "stopped")
            raise
    setattr(module, name, slowly)

if os.environ.get("{slow}") and "engine.serve.host" in sys.orig_argv:
    # Our own engine, whatever the working directory holds; the process under test has been started with -P.
    import engine.diffusion.denoise
    import engine.diffusion.speculation
    _slow_denoising(engine.diffusion.denoise, "denoise")
    _slow_denoising(engine.diffusion.speculation, "speculate")
"""


class Watch:
    """Files below a folder of the test's, and the environment that makes processes use them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        site = _SITE.format(network=NETWORK_LOG, slow=SLOW, steps=STEPS_LOG, count=STEPS, seconds=STEP_SECONDS)
        (folder / "sitecustomize.py").write_text(site)
        self._folder = folder
        self._slow = folder / "slow"

    def environment(self, *, network: bool) -> dict[str, str]:
        """Variables to add. `network` is False where sockets to the network are to be refused and noted."""
        added = {"PYTHONPATH": str(self._folder), SLOW: str(self._slow), STEPS_LOG: str(self._folder / "steps")}
        return added if network else added | {NETWORK_LOG: str(self._folder / "network")}

    def slow(self, on: bool) -> None:
        """Whether requests that begin from now on take long."""
        if on:
            self._slow.touch()
        else:
            self._slow.unlink(missing_ok=True)

    def steps(self) -> list[str]:
        """What slow requests have written down: `step`, and how each ended, `stopped` or `finished`."""
        return self._lines("steps")

    def network(self) -> list[str]:
        return self._lines("network")

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text().splitlines() if path.exists() else []


def hostile_folder(folder: Path) -> Path:
    """A project whose `engine` folder is somebody else's; importing it leaves a file behind and fails."""
    for name in ("engine", "engine/serve", "torch"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(
            f"open({os.fspath(folder / 'imported')!r}, 'a').write(__name__ + chr(10))\nraise RuntimeError('somebody else')\n"
        )
    return folder
