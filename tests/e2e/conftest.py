from __future__ import annotations

import pytest

from dlsp import trigger


@pytest.fixture(autouse=True)
def short_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents of these tests are a few characters long, which would be too little to go by."""
    monkeypatch.setattr(trigger, "FEWEST_CHARACTERS", 1)
