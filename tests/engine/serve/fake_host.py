"""A host process with a fake engine, started by tests as a script. `model` is a folder: what lies in it steers the fake.

`load_seconds` (a number), `load_error` (a sentence): how loading goes. `tick_seconds` (a number) replaces how often the host asks
whether it is needed, `log` (a path) where it writes. The prefix of a request says what to do: `sleep SECONDS`,
`die`, `fail`, else it is echoed. Each request's end is appended to `notes`.
"""

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from engine.api import Fill, InfillRequest, InfillResult, empty_result
from engine.errors import CheckpointError, RequestError
from engine.serve import address, host

STEP = 0.01


class FakeEngine:
    model, device, dtype, fallback_reason, notice = "fake", "cpu", "float32", "", ""
    prompt_tokens = 640
    reads_snippets = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def infill(self, request: InfillRequest, *, cancelled=None, on_step=None) -> InfillResult:
        verb, _, argument = request.prefix.partition(" ")
        self.note(f"start {request.prefix}")
        if verb == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "fail":
            raise ValueError(request.prefix)
        if verb == "refuse":
            raise RequestError("There is nothing to fill.", "Send a hole.")
        end = time.monotonic() + (float(argument) if verb == "sleep" else 0.0)
        while time.monotonic() < end:
            if cancelled():
                self.note(f"cancelled {time.monotonic()}")
                return empty_result("cancelled", "cancelled")
            time.sleep(STEP)
        self.note("done")
        return InfillResult(fills=(Fill(text=request.prefix, confidence=1.0, tokens=1),), finish="complete", model=self.model)

    def close(self) -> None:
        self.note("closed")

    def note(self, line: str) -> None:
        with open(self.folder / "notes", "a") as file:
            file.write(line + "\n")


def model_folder(name: str) -> Path:
    """The fake model's folder: what the configuration names, unless that is the name of a pulled one."""
    return Path(os.environ.get("DLSP_FAKE_MODEL", name))


def load(config, on_progress):
    folder = model_folder(config.model)
    engine = FakeEngine(folder)
    engine.note(f"load {os.getpid()}")
    delay = folder / "load_seconds"
    on_progress(0.5)
    if delay.exists():
        time.sleep(float(delay.read_text()))
    failure = folder / "load_error"
    if failure.exists():
        raise CheckpointError(failure.read_text(), "Get another one.")
    return engine


def steered() -> None:
    """What lies in the model's folder and concerns the host itself."""
    folder = model_folder(msgspec.json.decode(sys.argv[sys.argv.index("--config") + 1])["model"])
    if (folder / "tick_seconds").exists():
        host._TICK_SECONDS = float((folder / "tick_seconds").read_text())
    if (folder / "log").exists():
        address.log_file = lambda place: Path((folder / "log").read_text())


if __name__ == "__main__":
    steered()
    host.main(sys.argv[1:], load)
