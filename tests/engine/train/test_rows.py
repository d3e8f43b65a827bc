"""The compared layouts: training computes what their inference computes, and rows say what they should."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from engine.api import Hole, InfillRequest
from engine.models.checkpoint import save
from engine.models.families import FAMILIES, InfillDefaults, own_config_json
from engine.runtime.engine import Engine
from engine.runtime.runner import full_logits
from engine.text.tokenizer import Tokenizer
from engine.train import bpe
from engine.train.compare import SuffixFirstRunner, load
from engine.train.cuts import Window
from engine.train.presets import configure
from engine.train.rows import RowPlan, make_rows, row_loss, row_mask
from tiny_models import tiny_config, tiny_network

PREFIX, SUFFIX = "def add(first, second):\n    total = ", "\n    return total\n"
CONFIGS = {
    "full": {"attention": "full"},
    "suffix-first": {"attention": "block_causal", "block_length": 1, "num_roles": 4},
    "causal": {"attention": "block_causal", "block_length": 1, "logit_shift": 1},
}


def _plan(tokenizer: Tokenizer, layout: str) -> RowPlan:
    ids = [tokenizer.special_id(mark) for mark in (bpe.MASK, bpe.END, bpe.FIM_PREFIX, bpe.FIM_SUFFIX, bpe.FIM_MIDDLE)]
    mask, end, *fim = (i or 0 for i in ids)
    return RowPlan(layout, 40, 8, 3, mask, end, tuple(fim))  # type: ignore[arg-type]


def _windows(count: int = 3) -> list[Window]:
    rng = random.Random(1)
    holes = [(4, 7), (12, 12), (15, 19), (22, 34)]
    return [Window([rng.randrange(8, 300) for _ in range(40)], holes, [False] * 4) for _ in range(count)]


@pytest.fixture(params=list(CONFIGS))
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(layout: str, tokenizer: Tokenizer, tokenizer_file: Path, tmp_path: Path) -> Path:
    config = tiny_config(tokenizer, **CONFIGS[layout])  # type: ignore[arg-type]
    tokens = {"mask": bpe.MASK, "end": bpe.END, "document": bpe.DOCUMENT}
    infill = InfillDefaults(canvas=8, prefix_tokens=64, suffix_tokens=32)
    if layout != "full":
        tokens |= {"fim_prefix": bpe.FIM_PREFIX, "fim_suffix": bpe.FIM_SUFFIX, "fim_middle": bpe.FIM_MIDDLE}
        infill = msgspec.structs.replace(infill, layout="suffix_first")
    save(tiny_network(config), own_config_json(config, tokens, infill, layout), FAMILIES[0], tmp_path, dtype=torch.float32)
    shutil.copyfile(tokenizer_file, tmp_path / "tokenizer.json")
    return tmp_path


def test_rows_of_different_windows_are_one_batch(layout: str, tokenizer: Tokenizer) -> None:
    batch = make_rows(_windows(), _plan(tokenizer, layout), random.Random(3))
    assert batch.tokens_BS.shape == batch.positions_BS.shape == batch.own_BS.shape
    assert bool((batch.weights_BR > 0).any(dim=1).all())
    network = tiny_network(tiny_config(tokenizer, **CONFIGS[layout]))  # type: ignore[arg-type]
    loss, parts = row_loss(network, batch)
    assert torch.isfinite(loss)
    assert parts[2] > 0
    assert (parts[0] > 0) == (layout != "full")


def test_padding_is_seen_by_nobody(layout: str, tokenizer: Tokenizer) -> None:
    windows = _windows()
    plan = _plan(tokenizer, layout)
    network = tiny_network(tiny_config(tokenizer, **CONFIGS[layout]))  # type: ignore[arg-type]
    alone = make_rows(windows[:1], plan, random.Random(3))
    mask = row_mask(alone)
    rows = alone.tokens_BS.shape[1]
    padded = [
        torch.nn.functional.pad(value, (0, 5), value=filler)
        for value, filler in ((alone.tokens_BS, plan.mask_id), (alone.limit_BS, 0), (alone.own_BS, -1))
    ]
    tokens, limit, own = padded
    positions, roles = (torch.nn.functional.pad(value, (0, 5)) for value in (alone.positions_BS, alone.roles_BS))
    wide = replace(alone, tokens_BS=tokens, positions_BS=positions, roles_BS=roles, limit_BS=limit, own_BS=own)
    assert torch.equal(row_mask(wide)[:, :, :rows, :rows], mask)
    assert not row_mask(wide)[:, :, :rows, rows:].any()
    torch.testing.assert_close(row_loss(network, wide)[0], row_loss(network, alone)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["full"], indirect=True)
def test_a_hole_in_place_is_scored_as_inference_scores_it(layout: str, tokenizer: Tokenizer) -> None:
    network = tiny_network(tiny_config(tokenizer, "full"))
    plan = _plan(tokenizer, layout)
    batch = make_rows(_windows(1), plan, random.Random(3))
    row = batch.tokens_BS[0].tolist()
    expected = full_logits(network, row, (0, 0))
    hidden = network(batch.tokens_BS, batch.positions_BS, mask=row_mask(batch))
    torch.testing.assert_close(network.logits(hidden)[0], expected, rtol=1e-3, atol=1e-4)
    asked = batch.weights_BR[0] > 0
    assert all(row[at] == plan.mask_id for at in batch.rows_BR[0][asked].tolist())


@pytest.mark.parametrize("layout", ["suffix-first"], indirect=True)
def test_a_canvas_behind_suffix_and_prefix_is_scored_as_inference_scores_it(layout: str, folder: Path, tokenizer: Tokenizer) -> None:
    engine = load(folder)
    plan = _plan(tokenizer, layout)
    (window,) = _windows(1)
    batch = make_rows([window], plan, random.Random(3))
    row, own = batch.tokens_BS[0].tolist(), batch.own_BS[0].tolist()
    network = engine.network.float()
    with torch.inference_mode():
        scores = network.logits(network(batch.tokens_BS, batch.positions_BS, mask=row_mask(batch), roles_BS=batch.roles_BS))[0]
        runner = SuffixFirstRunner(network, plan.canvas, engine._tools)
        for number in (1, 2, 3):
            slots = [at for at, n in enumerate(own) if n == number]
            limit = int(batch.limit_BS[0, slots[0]])
            mark = row.index(plan.fim[0])
            opened = runner.open(("", ""), row[mark + 1 : limit], row[1:mark])
            got = opened.forward([[[row[at] for at in slots]]])[0][0]
            torch.testing.assert_close(got, scores[slots], rtol=1e-3, atol=1e-4)
    assert opened.reused > 10


@pytest.mark.parametrize("layout", ["causal"], indirect=True)
def test_the_peer_writes_what_a_full_pass_would(layout: str, folder: Path) -> None:
    engine, plain = load(folder), Engine.load(str(folder), device="cpu", dtype="float32")
    engine.network.float()
    request = InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_tokens=12, max_lines=0),), client="a", document="b")
    result = engine.infill(request)
    ids, fim = plain.token_ids, plain.token_ids.fim
    assert fim is not None
    prefix = plain.tokenizer.encode(PREFIX).ids
    row = [fim.suffix, *plain.tokenizer.encode(SUFFIX).ids, fim.prefix, ids.document, *prefix[:-1], fim.middle]
    forced = plain.tokenizer.decode_bytes(prefix[-1:])
    written: list[int] = []
    while len(written) < 12:
        scores = plain.logits([*row, ids.mask])[-1].clone()  # type: ignore[list-item]
        allowed = (
            plain._tools.constraint.allowed(forced)
            if forced
            else [i for i, p in enumerate(plain.tokenizer.token_bytes) if p or i == ids.end]
        )
        token = max(allowed, key=lambda i: float(scores[i]))
        if token == ids.end:
            break
        forced = plain._tools.constraint.rest(forced, token) if forced else b""
        written.append(token)
        row.append(token)
    assert result.text == plain.tokenizer.decode_bytes(written).decode("utf-8", "ignore")[1:]
    again = engine.infill(msgspec.structs.replace(request, prefix=PREFIX + "f"))
    assert again.reused_tokens > 10
    assert result.forwards == result.steps + 1


def test_every_layout_fills_holes(folder: Path) -> None:
    result = load(folder).infill(InfillRequest(prefix=PREFIX, suffix=SUFFIX))
    assert result.finish in ("complete", "length")
    assert "\n" not in result.text


def test_layouts_need_their_marks(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    bpe.train([PREFIX * 40], 300, file)
    text = file.read_text()
    for mark in (bpe.FIM_PREFIX, bpe.FIM_SUFFIX, bpe.FIM_MIDDLE):
        text = text.replace(mark, mark.replace("fim", "gone"))
    file.write_text(text)
    with pytest.raises(Exception, match="needs FIM marks"):
        configure("compare", Tokenizer(file), layout="causal")
