"""What dlsp needs on this machine, checked piece by piece: each check passes, warns or fails, and names the command that fixes it.

Knows nothing of how the checks are shown; nothing is changed or started, and nothing is sent but a question to the team server of the
settings.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from dlsp.context.exclude import SECRETS, Exclusions, holds_private_key
from dlsp.context.ignore_patterns import is_pattern
from dlsp.log import counts_file, log_file
from dlsp.settings import Options, Settings, read_file, resolve, user_file
from engine.api import InfillRequest
from engine.config import EngineConfig
from engine.errors import CheckpointError, DlspError

if TYPE_CHECKING:
    from dlsp.backends.remote import HttpEngineClient

State = Literal["pass", "warn", "fail"]
_T = TypeVar("_T")

REINSTALL = "Install dlsp again from its folder (docs/install.md)."
"""Neither a package's name nor `pip`: dlsp is on no index, and an environment of pipx's or uv's has no pip that a shell would find."""

LIBRARIES = ("pygls", "msgspec", "httpx", "starlette", "uvicorn", "tokenizers", "safetensors", "huggingface-hub")
OTHER_EDITORS = {
    "code": "VS Code",
    "codium": "VSCodium",
    "hx": "Helix",
    "emacs": "Emacs",
    "zed": "Zed",
    "subl": "Sublime Text",
    "vim": "Vim",
}
NVIM_WANTED = (0, 10)
"""The first version that editors/nvim draws its ghost text in."""

FIRST_PYTHON_UNTESTED = (3, 14)
"""The first version that nobody has tried."""

_MOST_LOOKED_AT = 1_000_000
_SAMPLE = InfillRequest(
    prefix="class Point:\n    def __init__(self, x, y):\n        self.x = ",
    suffix="\n        self.y = y\n",
    client="doctor",
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `detail` says what was found, `fix` is a command or step (empty when it passes)."""

    name: str
    state: State
    detail: str
    fix: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to look at: a model and a device other than the settings', whether to really load the model and fill a hole (with a
    team server: to have it fill one), and a file of which to say whether it may enter a prompt, with the workspace folder `root`."""

    model: str = ""
    device: str = ""
    load: bool = False
    file: Path | None = None
    root: Path | None = None


def examine(plan: Plan) -> Iterator[Check]:
    """Every check in turn, cheap ones first. What is wrong with the machine is a check that fails; raises ConfigError for a bad plan."""
    yield _python()
    yield from _libraries()
    file = user_file()
    options = read_file(file)
    settings = resolve([options])
    config = settings.engine()
    if plan.model or plan.device:
        config = msgspec.structs.replace(config, model=plan.model or config.model, device=plan.device or config.device)
    yield _settings(file, options)
    yield _guarded("excluded files", lambda: _excluded(settings, plan))
    if plan.file is not None:
        yield _guarded("this file", lambda: _file(settings, plan))
    yield _guarded("log", _log)
    yield _guarded("counts", lambda: _counts(settings))
    if settings.backend == "remote":
        server = _guarded("team server", lambda: _team_server(settings))
        yield server
        if plan.load and server.state != "fail":
            yield _guarded("infill", lambda: _filled_there(settings))
    if settings.backend != "remote" or plan.model or plan.device:
        yield from _own_engine(config, plan)
    yield from _editors()


def _own_engine(config: EngineConfig, plan: Plan) -> Iterator[Check]:
    """What a model on this machine needs."""
    torch = _torch()
    yield torch
    if torch.state == "fail":
        # Without torch the engine cannot even be asked.
        yield Check(name="model", state="fail", detail="cannot be checked without torch", fix=torch.fix)
    else:
        yield _guarded("device", lambda: _device(config))
        yield _guarded("model", lambda: _model(config))
        if plan.load:
            yield _guarded("infill", lambda: _fill(config))
    yield _guarded("pulled models", _pulled_models)
    yield _guarded("runtime folder", _runtime_folder)
    yield _guarded("engine host", _hosts)


def _team_server(settings: Settings) -> Check:
    from engine.serve.address import version

    there, here = _ask(settings, lambda server: server.health())["version"], version()
    detail = f"{settings.remote_url} answers; dlsp {there}"
    if there != here:
        fix = "Install the same version at both ends (docs/install.md)."
        return Check(name="team server", state="warn", detail=f"{detail} there, {here} here", fix=fix)
    return Check(name="team server", state="pass", detail=detail)


def _filled_there(settings: Settings) -> Check:
    started = time.monotonic()
    result = _ask(settings, lambda server: server.infill(_SAMPLE))
    detail = f"the server filled a hole in {1000 * (time.monotonic() - started):.0f} ms: {result.text!r}"
    if not result.text:
        return Check(name="infill", state="warn", detail=f"{detail} ({result.reason})", fix="Try another model there.")
    return Check(name="infill", state="pass", detail=detail)


def _ask(settings: Settings, question: Callable[[HttpEngineClient], Awaitable[_T]]) -> _T:
    """What the team server answers. Raises ConfigError for settings that cannot be right, else what the client raises."""
    from dlsp.backends.remote import team_server

    async def ask() -> _T:
        server = team_server(settings.remote_url, settings.remote_token)
        try:
            return await question(server)
        finally:
            await server.close()

    return asyncio.run(ask())


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= FIRST_PYTHON_UNTESTED:
        return Check(
            name="python", state="warn", detail=f"{version} is newer than what dlsp is tested with", fix="If torch fails, use Python 3.13."
        )
    return Check(name="python", state="pass", detail=f"{version} ({sys.executable})")


def _libraries() -> Iterator[Check]:
    missing = []
    for name in LIBRARIES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check(name="libraries", state="fail", detail=f"missing: {', '.join(missing)}", fix=REINSTALL)
    else:
        yield Check(name="libraries", state="pass", detail=f"{len(LIBRARIES)} found")


def _settings(file: Path, options: Options) -> Check:
    if options.problems:
        return Check(name="settings", state="fail", detail=" ".join(options.problems), fix=f"Edit {file}; docs/settings.md has the names.")
    if not file.exists():
        return Check(name="settings", state="pass", detail=f"the defaults ({file} does not exist)")
    return Check(name="settings", state="pass", detail=f"{file} sets {', '.join(sorted(options.sent())) or 'nothing'}")


def _excluded(settings: Settings, plan: Plan) -> Check:
    wrong = [repr(pattern) for pattern in settings.exclude if not is_pattern(pattern)]
    if wrong:
        detail = f"not valid, and so without effect: {', '.join(wrong)}"
        return Check(
            name="excluded files", state="fail", detail=detail, fix="Correct `exclude` in the settings; it takes .gitignore patterns."
        )
    files = _exclusions(settings, plan).ignore_files()
    parts = [
        f"secrets: {' '.join(SECRETS)}" if settings.exclude_secrets else "",
        f"settings: {' '.join(settings.exclude)}" if settings.exclude else "",
        "what .gitignore and .dlspignore name" + (f": {', '.join(map(str, files))}" if files else ""),
    ]
    detail = "; ".join(filter(None, parts))
    if not settings.exclude_secrets:
        return Check(
            name="excluded files", state="warn", detail=f"secrets are not; {detail}", fix="Remove `excludeSecrets` from the settings."
        )
    return Check(name="excluded files", state="pass", detail=detail)


def _file(settings: Settings, plan: Plan) -> Check:
    assert plan.file is not None
    said = f"{plan.file}: {_exclusions(settings, plan).explain(plan.file.absolute().as_uri())}"
    if not plan.file.is_file():
        return Check(name="this file", state="warn", detail=f"{said} There is no such file.", fix="Check the path.")
    with plan.file.open("rb") as file:
        if holds_private_key([file.read(_MOST_LOOKED_AT).decode("utf-8", "replace")]):
            said += " It holds a private key, so nothing of it is quoted while you work on other files."
    return Check(name="this file", state="pass", detail=said)


def _exclusions(settings: Settings, plan: Plan) -> Exclusions:
    """What an editor would have in force that has opened the folder `plan.root`, or the present one."""
    return Exclusions(settings.exclude, [(plan.root or Path()).absolute()], secrets=settings.exclude_secrets)


def _log() -> Check:
    path = log_file()
    folder = next(folder for folder in path.parents if os.path.exists(folder))
    theirs = next((there for there in (folder, path) if os.path.exists(there) and not os.access(there, os.W_OK)), None)
    if theirs or not folder.is_dir():
        detail = f"{theirs or folder} cannot be written: the log goes to the editor's messages, the engine's to the runtime folder"
        fix = f"Make {path.parent} a folder that you can write."
        # No advice to take over a folder that is not dlsp's own.
        if "dlsp" in (folder.name, folder.parent.name):
            fix = f"Make it a folder of yours; where it is root's, after one `sudo dlsp`: `sudo chown -R $USER {folder}`."
        return Check(name="log", state="warn", detail=detail, fix=fix)
    if not path.exists():
        return Check(name="log", state="pass", detail=f"{path} (nothing yet)")
    return Check(
        name="log", state="pass", detail=f"{path}, {path.stat().st_size // 1000} kB, without text of documents unless `logLevel` is debug"
    )


def _counts(settings: Settings) -> Check:
    path = counts_file()
    state = "without text and paths, see `dlsp stats`" if settings.stats else "switched off by the setting `stats`"
    return Check(name="counts", state="pass", detail=f"{path}, {state}")


def _torch() -> Check:
    fix = REINSTALL
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: a shared library of torch's is missing or broken
        return Check(name="torch", state="fail", detail=f"cannot be imported ({_first_line(error)})", fix=fix)
    version = str(torch.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < (2, 11):
        return Check(name="torch", state="fail", detail=f"{version} is too old", fix=fix)
    return Check(name="torch", state="pass", detail=version)


def _device(config: EngineConfig) -> Check:
    from engine.runtime.device import place

    placement = place(config.device, config.dtype)
    detail = f"{placement.device}, {str(placement.dtype).removeprefix('torch.')}"
    if placement.fallback_reason:
        fix = "Update the GPU's driver or torch; dlsp works on the CPU meanwhile."
        return Check(name="device", state="warn", detail=f"{detail}; {placement.fallback_reason}", fix=fix)
    return Check(name="device", state="pass", detail=detail)


def _model(config: EngineConfig) -> Check:
    from engine.models import checkpoint, store

    folder = checkpoint.find(config.model)
    pulled = store.read(folder)
    try:
        missing = pulled.damaged() if pulled else []
        if missing:
            raise CheckpointError(f"{folder}: {', '.join(missing)} is missing or not whole.", store.mend(folder))
        facts = checkpoint.read(folder)
        look_at_files(folder)
    except CheckpointError as error:
        return Check(name="model", state="fail", detail=str(error.args[0]), fix=error.action or "dlsp models use nano")
    size = store.size_text(sum(path.stat().st_size for path in folder.glob("*.safetensors")))
    detail = f"{pulled.name if pulled else facts.name}: family {facts.family.name}, {size} of weights, licence {facts.licence}, {folder}"
    return Check(name="model", state="pass", detail=f"{detail}. {facts.notice}" if facts.notice else detail)


def look_at_files(folder: Path) -> None:
    """Everything that can be known of a checkpoint without reading its weights. Raises CheckpointError for the first thing wrong."""
    from engine.models import checkpoint

    for check in checkpoint.verify(folder):
        if check.state == "failed":
            raise CheckpointError(check.detail, check.action)
        if check.name == "shapes":
            return


def _pulled_models() -> Check:
    from engine.models import store

    models, begun = store.installed(), store.interrupted()
    damaged = [model.name for model in models if model.damaged()]
    if damaged:
        return Check(name="pulled models", state="warn", detail=f"damaged: {', '.join(damaged)}", fix=f"dlsp models pull {damaged[0]}")
    if begun:
        first = f"{begun[0].id}@{begun[0].commit[:12]}"
        detail = f"not complete: {first}, {store.size_text(begun[0].size)} are here"
        fix = f"dlsp models pull {first} (goes on), or dlsp models remove {first} (frees the space)"
        return Check(name="pulled models", state="warn", detail=detail, fix=fix)
    if not models:
        return Check(name="pulled models", state="pass", detail="none; `dlsp models` lists what there is")
    size = store.size_text(sum(model.size for model in models))
    detail = f"{len(models)}, {size} in {store.default_root()}; `dlsp models remove NAME` frees the space"
    return Check(name="pulled models", state="pass", detail=detail)


def _fill(config: EngineConfig) -> Check:
    from engine.runtime.engine import Engine

    started = time.monotonic()
    engine = Engine.load(config.model, device=config.device, dtype=config.dtype, threads=config.threads)
    loaded = time.monotonic()
    result = engine.infill(_SAMPLE)
    detail = f"loaded in {1000 * (loaded - started):.0f} ms, filled a hole in {1000 * (time.monotonic() - loaded):.0f} ms: {result.text!r}"
    if not result.text:
        return Check(name="infill", state="warn", detail=f"{detail} ({result.reason})", fix="Try another model with --model.")
    return Check(name="infill", state="pass", detail=detail)


def _runtime_folder() -> Check:
    from engine.serve.address import runtime_folder

    folder = runtime_folder()
    return Check(name="runtime folder", state="pass", detail=f"{folder} is private to you")


def _hosts() -> Check:
    from engine.serve.address import accepts, check_private, running_hosts, runtime_folder

    for socket in sorted(runtime_folder().glob("*.sock")):
        check_private(socket)
    hosts = running_hosts()
    if not hosts:
        return Check(name="engine host", state="pass", detail="none is running; the first editor starts it")
    deaf = [host for host in hosts if not accepts(host.address)]
    if deaf:
        pids = " ".join(str(host.pid) for host in deaf)
        return Check(name="engine host", state="warn", detail=f"process {pids} is running but does not answer", fix=f"kill {pids}")
    found = "; ".join(f"process {host.pid} with {host.config.model} on {host.config.device}" for host in hosts)
    return Check(name="engine host", state="pass", detail=found)


def _editors() -> Iterator[Check]:
    found = [name for command, name in OTHER_EDITORS.items() if shutil.which(command)]
    nvim = shutil.which("nvim")
    if nvim:
        yield _neovim(nvim)
    if found:
        yield Check(name="editors", state="pass", detail=f"{', '.join(found)} (any that speaks LSP can run `dlsp serve --stdio`)")
    elif not nvim:
        detail = "no editor found on the PATH"
        yield Check(name="editors", state="warn", detail=detail, fix="Point your editor's LSP settings at `dlsp serve --stdio`.")


def _neovim(path: str) -> Check:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name="neovim", state="warn", detail=f"{path} does not run ({_first_line(error)})", fix="Reinstall Neovim.")
    match = re.match(r"NVIM v(\d+)\.(\d+)\S*", answer)
    if match is None:
        return Check(name="neovim", state="warn", detail=f"{path} does not say its version", fix="Reinstall Neovim.")
    version = match.group().removeprefix("NVIM v")
    if (int(match[1]), int(match[2])) < NVIM_WANTED:
        wanted = ".".join(map(str, NVIM_WANTED))
        detail = f"{version} is too old for editors/nvim"
        return Check(name="neovim", state="warn", detail=detail, fix=f"Install Neovim {wanted} or newer.")
    return Check(name="neovim", state="pass", detail=f"{version}; add editors/nvim to its runtimepath and call require('dlsp').setup()")


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """The check, or a failed one that says why it could not be made."""
    try:
        return check()
    except DlspError as error:
        return Check(name=name, state="fail", detail=str(error.args[0]), fix=error.action)
    except ImportError as error:
        return Check(name=name, state="fail", detail=f"cannot be checked ({_first_line(error)})", fix=REINSTALL)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Check(name=name, state="fail", detail=f"{where}{error.strerror or error}", fix="Check the permissions of this path.")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
