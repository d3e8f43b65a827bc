"""The registry of backends: names to classes, imported only when chosen. Knows nothing else about them."""

from __future__ import annotations

import importlib

import msgspec

from dlsp.backends.base import Backend
from engine.config import EngineConfig
from engine.errors import ConfigError

BACKENDS = {
    "local": "dlsp.backends.local:LocalBackend",
    "remote": "dlsp.backends.remote:RemoteBackend",
    "fake": "dlsp.backends.fake:FakeBackend",
}


class BackendOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What backends are made from: `engine` for the local one, `url` and `token` for those elsewhere."""

    engine: EngineConfig = EngineConfig()
    url: str = ""
    token: str = ""


def make_backend(name: str, options: BackendOptions) -> Backend:
    """The backend called `name`, not yet connected to anything. Raises ConfigError for an unknown name or a missing URL."""
    if name not in BACKENDS:
        raise ConfigError(f"There is no backend {name!r}.", f"Use one of {', '.join(BACKENDS)}.")
    module, _, attribute = BACKENDS[name].partition(":")
    backend_class = getattr(importlib.import_module(module), attribute)
    if name == "local":
        made: Backend = backend_class(options.engine)
    elif name == "remote":
        made = backend_class(options.url, options.token)
    else:
        made = backend_class()
    return made
