"""A host process with a fake engine, started by tests as a script. `model` is a folder: what lies in it steers the fake.

`load_seconds` (a number), `load_error` (a sentence): how loading goes. The prefix of a request says what to do: `sleep SECONDS`,
`die`, `fail`, else it is echoed. Each request's end is appended to `notes`.
"""

import os
import signal
import sys
import time
from pathlib import Path

from engine.api import Fill, InfillRequest, InfillResult, empty_result
from engine.errors import CheckpointError, RequestError
from engine.serve.host import main

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


def load(config, on_progress):
    folder = Path(config.model)
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


if __name__ == "__main__":
    main(sys.argv[1:], load)
