from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dlsp.processes import alive
from dlsp.transport import Address, parse_address
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:2087", Address("127.0.0.1", 2087)),
        (":2087", Address("127.0.0.1", 2087)),
        ("2087", Address("127.0.0.1", 2087)),
        ("[::1]:0", Address("::1", 0)),
        ("example.org:80", Address("example.org", 80)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "1:65536", "::1:80", "host:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_address(text)


def test_whether_a_process_is_alive() -> None:
    assert alive(os.getpid())
    assert alive(1)
    assert not alive(0)
    assert not alive(-5)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not alive(child.pid)
