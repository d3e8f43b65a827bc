"""What the server itself costs between a keystroke and its answer does not grow with the document, beyond copying its list of lines.

In processor time, so that a busy machine does not matter, and as a ratio, so that a slow one does not either.
"""

from __future__ import annotations

import json
import statistics
import time

import pytest
from typer.testing import CliRunner

from dlsp.cli.bench import bench_app
from engine.bench.overhead import BARS_MS
from lsp_memory import session_with
from scripted_backend import ScriptedBackend

BODY = "def function_{0}(first, second):\n    total = first + second * {0}\n    return total\n\n\n"
TYPED = "value = function_7(first, second)"


async def cost_ms(lines: int) -> float:
    """The median of a keystroke with its answer, the client's part included."""
    text = "".join(BODY.format(number) for number in range(lines // 5))
    line, version, spent = lines // 2 // 5 * 5 + 3, 1, []
    async with session_with(ScriptedBackend(lambda request: f"_{len(request.prefix)}x"), text) as client:
        for number in range(3 * len(TYPED)):
            column = number % len(TYPED)
            if column == 0 and number:
                version += 1
                client.insert(line, len(TYPED), "\n", version=version)
                line += 1
            version += 1
            client.insert(line, column, TYPED[column], version=version)
            began = time.process_time()
            await client.result(client.ghost(line, column + 1))
            spent.append(1000 * (time.process_time() - began))
        assert len(client.backend.requests) > len(spent) / 2, "most of them went all the way to the model"
    return statistics.median(spent)


async def test_the_cost_of_a_keystroke_does_not_grow_with_the_document() -> None:
    small, large = await cost_ms(500), await cost_ms(20_000)
    assert large < 3 * small + 2, f"{small:.1f} ms in 500 lines, {large:.1f} ms in 20,000"


SHARED = 3.0
"""The bars are for a machine that does nothing else. Where others compute, so many times as much still tells what got much worse."""


@pytest.mark.parametrize("lines", [5_000, 20_000])
def test_real_code_in_a_workspace_costs_about_what_the_bars_say(lines: int) -> None:
    result = CliRunner().invoke(bench_app, ["overhead", "--lines", str(lines), "--keystrokes", "100"])
    assert result.exit_code == 0, result.output
    assert f"{BARS_MS[lines]:g} ms" in result.stdout
    cost = json.loads(result.stdout.splitlines()[-1])["cost_ms"][str(lines)]
    assert cost["n"] > 50, "most of them went all the way to the model"
    assert cost["p95"] <= SHARED * BARS_MS[lines], cost
