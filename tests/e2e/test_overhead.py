"""What the server itself costs between a keystroke and its answer, in processor time, so that a busy machine does not matter."""

from __future__ import annotations

import statistics
import time

import pytest

from lsp_memory import session_with
from scripted_backend import ScriptedBackend

BODY = "def function_{0}(first, second):\n    total = first + second * {0}\n    return total\n\n\n"
TYPED = "value = function_7(first, second)"


@pytest.mark.parametrize(("lines", "limit_ms"), [(5_000, 5.0), (20_000, 15.0)])
async def test_overhead_of_a_keystroke_and_its_answer(lines: int, limit_ms: float) -> None:
    text = "".join(BODY.format(number) for number in range(lines // 5))
    middle = lines // 2 // 5 * 5 + 3
    async with session_with(ScriptedBackend(lambda request: f"_{len(request.prefix)}x"), text) as client:
        if client.session.workspace is not None:
            await client.session.workspace.settled()
        version, spent = 1, []
        for number in range(120):
            column = number % len(TYPED)
            version += 1
            if column == 0 and number:
                client.insert(middle, len(TYPED), "\n", version=version)
                middle, version = middle + 1, version + 1
            client.insert(middle, column, TYPED[column], version=version)
            began = time.process_time()
            result = await client.result(client.ghost(middle, column + 1))
            spent.append(1000 * (time.process_time() - began))
            assert isinstance(result["items"], list)
        assert len(client.backend.requests) > 60, "the whole way was gone"
        usual = statistics.quantiles(spent[5:], n=20)[18]
        assert usual <= limit_ms, f"p95 {usual:.1f} ms, median {statistics.median(spent):.1f} ms"
