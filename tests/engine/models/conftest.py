"""A hub on this machine, a small model for it, and pulling from it into a folder of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import family_checkpoints
from engine.models import hub, store
from engine.models.hub import Pull
from engine.models.store import Installed
from engine.models.transfer import Source
from fake_hub import Hub, files_of, running_hub


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def fake(server: Hub) -> Hub:
    """The hub as if nobody had asked it anything yet."""
    fresh = Hub(url=server.url)
    vars(server).update(vars(fresh))
    return server


@pytest.fixture(scope="session")
def coda(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model of a family whose licence has a notice, as one file."""
    return files_of(family_checkpoints.write("coda", tmp_path_factory.mktemp("coda")))


@pytest.fixture
def sharded(make_checkpoint: Callable[..., Path]) -> dict[str, bytes]:
    return files_of(make_checkpoint("full", shard_bytes=100_000))


@pytest.fixture
def pull(fake: Hub, tmp_path: Path) -> Callable[..., Installed]:
    """Pulls by name, into a folder of this test; keywords replace fields of `Pull` and of `Source`."""

    def pulling(name: str, **facts: Any) -> Installed:
        source = Source(endpoint=fake.url, token=facts.pop("token", None), waits=facts.pop("waits", ()), cache=tmp_path / "cache")
        return hub.pull(store.parse(name), replace(Pull(source=source, root=tmp_path / "models"), **facts))

    return pulling
