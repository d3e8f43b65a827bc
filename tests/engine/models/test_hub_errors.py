"""What goes wrong between us and a hub: one sentence, the next action, and nothing installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from engine.errors import CheckpointError, DlspError, HostError
from engine.models import hub, store, transfer
from engine.models.hub import Pull
from engine.models.store import Installed
from engine.models.transfer import Source
from fake_hub import Hub

WEIGHTS = "model.safetensors"


def refusals() -> Iterator[Any]:
    def status(file: str, number: int) -> Callable[[Hub], None]:
        return lambda fake: fake.status.update({file: number})

    def nothing(fake: Hub) -> None:
        pass

    def gated(fake: Hub) -> None:
        fake.repositories["Org/Coda"].gated = True
        fake.repositories["Org/Coda"].token = "secret"

    def private(fake: Hub) -> None:
        fake.repositories["Org/Coda"].token = "secret"

    def page(fake: Hub) -> None:
        fake.page = "<html>Please log in to the guest network</html>"

    cases: list[tuple[str, str, Callable[[Hub], None], type[DlspError], str]] = [
        ("missing", "Org/Nothing", nothing, CheckpointError, "no model Org/Nothing that you may read.*spelling.*HF_TOKEN"),
        ("private", "Org/Coda", private, CheckpointError, "no model Org/Coda that you may read.*HF_TOKEN"),
        ("gated", "Org/Coda", gated, CheckpointError, r"accepted its terms.*http://127\.0\.0\.1:\d+/Org/Coda.*HF_TOKEN"),
        ("revision", "Org/Coda@v9", nothing, CheckpointError, "no revision 'v9'"),
        ("forbidden", "Org/Coda", status("", 403), CheckpointError, "token may not read Org/Coda"),
        ("too many", "Org/Coda", status("", 429), HostError, "too many requests.*five minutes"),
        ("broken", "Org/Coda", status("", 500), HostError, r"trouble of its own \(status 500\)"),
        ("odd", "Org/Coda", status("", 418), HostError, r"refuses to give Org/Coda \(status 418\)"),
        ("file broken", "Org/Coda", status(WEIGHTS, 503), HostError, r"trouble of its own \(status 503\).*goes on from there"),
        ("file gone", "Org/Coda", status(WEIGHTS, 404), CheckpointError, "does not have model.safetensors of Org/Coda"),
        ("log-in page", "Org/Coda", page, HostError, "does not answer as a model hub does.*log-in page"),
    ]
    for name, *rest in cases:
        yield pytest.param(*rest, id=name)


@pytest.mark.parametrize(("name", "prepare", "kind", "message"), list(refusals()))
def test_what_the_hub_says_is_one_sentence_and_what_to_do(
    fake: Hub,
    pull: Callable[..., Installed],
    coda: dict[str, bytes],
    tmp_path: Path,
    name: str,
    prepare: Callable[[Hub], None],
    kind: type[DlspError],
    message: str,
) -> None:
    fake.add("Org/Coda", coda)
    prepare(fake)
    with pytest.raises(kind, match=message) as raised:
        pull(name)
    assert "\n" not in str(raised.value)
    assert raised.value.action
    assert store.installed(tmp_path / "models") == []


def test_trouble_that_passes_is_waited_for(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("Org/Coda", coda)
    fake.status[WEIGHTS] = 503
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            fake.status.clear()

    monkeypatch.setattr(transfer.time, "sleep", sleep)
    assert pull("Org/Coda", waits=(1.0, 2.0, 4.0)).size
    assert waited == [1.0, 2.0]


def test_no_network(tmp_path: Path) -> None:
    for url, message in (
        ("http://127.0.0.1:9", r"http://127\.0\.0\.1:9 cannot be reached.*Check HF_ENDPOINT, which sets this address.*HTTPS_PROXY"),
        ("elsewhere", r"HF_ENDPOINT is not an address \('elsewhere'\)\. Set it to .*https://"),
        ("ftp://elsewhere", "HF_ENDPOINT is not an address"),
        ("http://[", "HF_ENDPOINT is not an address"),
    ):
        with pytest.raises(HostError, match=message):
            hub.pull(store.parse("Org/Coda"), Pull(source=Source(endpoint=url), root=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_offline(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add("Org/Coda", coda)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HostError, match="HF_HUB_OFFLINE is set.*`dlsp models use PATH`"):
        pull("Org/Coda")
    assert fake.listed == 0


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("ProxyError", "407 Proxy Authentication Required", "proxy does not let us through.*HTTPS_PROXY"),
        ("ConnectTimeout", "timed out", "did not answer in time.*HTTPS_PROXY"),
        ("ConnectError", "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "certificate of http://h is not trusted.*SSL_CERT_FILE"),
        ("ConnectError", "", "cannot be reached"),
    ],
)
def test_ways_of_not_being_reached(kind: str, text: str, message: str) -> None:
    from huggingface_hub.errors import HTTPError

    from engine.models.hub_errors import explain

    error = type(kind, (HTTPError,), {})(text)
    assert transfer.is_transient(error) == (kind == "ConnectTimeout" or text == "")
    with pytest.raises(HostError, match=message):
        raise explain(error, store.parse("Org/Name"), "http://h")


def test_nobody_is_told_to_check_what_is_not_set() -> None:
    from huggingface_hub.errors import HTTPError

    from engine.models.hub_errors import explain

    error = type("ConnectError", (HTTPError,), {})("refused")
    said = str(explain(error, store.parse("Org/Name"), huggingface_hub.constants._HF_DEFAULT_ENDPOINT))
    assert "HTTPS_PROXY" in said
    assert "HF_ENDPOINT" not in said
