"""From a checkpoint to a network on its device: first whether it fits, then memory, then weights, then a look at the result.

Knows how long a prompt may become; knows nothing of requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from engine.diffusion.length import PROBES
from engine.errors import CheckpointError, DeviceError
from engine.models import checkpoint as checkpoints
from engine.models.checkpoint import Checkpoint
from engine.models.outline import materialise, outline
from engine.models.quantize import (
    Footprint,
    Precision,
    Work,
    attach_scratch,
    memory_needed,
    parameter_count,
    quantize,
    weight_bytes,
)
from engine.models.self_test import TRIVIAL, self_test
from engine.models.transformer import Transformer
from engine.runtime.decoding import HYPOTHETICAL
from engine.runtime.device import Placement, free_memory
from engine.runtime.runner import PASS_ROWS
from engine.text.tokenizer import Tokenizer

SMALL = 500_000_000
"""Bytes of weights up to which a model runs on the CPU without having been told to."""

HOLE = 128
"""Tokens that a prompt may become longer by: the slots of the hole and the marks around the prompt."""

_GPU_RESERVE = 300_000_000
_TRIAL = 1024


def load_network(
    checkpoint: Checkpoint, placement: Placement, report: Callable[[float], None] | None = None, tokenizer: Tokenizer | None = None
) -> Transformer:
    """The network of `checkpoint`, ready to run and seen to do what its family says. `report` gets 0 to 1.

    `tokenizer` is the checkpoint's, read again where it is not given. Raises DeviceError, before anything is allocated, where the
    model does not fit or would run on the CPU unasked, and CheckpointError for files that are missing or wrong.
    """
    network = fill_network(checkpoint, placement, report)
    if not checkpoint.built_in:
        _examine(network, checkpoint, tokenizer or checkpoints.tokenizer_of(checkpoint))
    return network


def fill_network(checkpoint: Checkpoint, placement: Placement, report: Callable[[float], None] | None = None) -> Transformer:
    """`load_network` without the look at the result."""
    check_fit(checkpoint, placement)
    network = outline(checkpoint.config).to(placement.dtype)
    if placement.quantize:
        quantize(network, placement.quantize)
    try:
        materialise(network, placement.device)
        attach_scratch(network)
    except (RuntimeError, MemoryError, OSError) as error:
        needed = footprint(checkpoint, placement.precision, placement.dtype)
        raise _too_large(checkpoint, placement, needed, free_memory(placement.device)) from error
    checkpoints.load_weights(network, checkpoint, report)
    return network.eval().requires_grad_(False)


def footprint(checkpoint: Checkpoint, precision: Precision, compute: torch.dtype) -> Footprint:
    """Bytes that a checkpoint needs with its own length policy and the longest prompt that its defaults allow."""
    infill = checkpoint.infill
    rows = infill.prefix_tokens + infill.suffix_tokens + HOLE
    work = Work(rows=rows, scored=HOLE, sampled=HOLE)
    if infill.length in HYPOTHETICAL:
        work = Work(rows=rows, batch=max(1, min(len(PROBES), PASS_ROWS // rows)), scored=sum(PROBES), sampled=max(PROBES))
    return memory_needed(checkpoint.config, precision, work, compute)


def check_fit(checkpoint: Checkpoint, placement: Placement) -> None:
    """Raise DeviceError where the model is too large for the device, or large and on the CPU only because there is no GPU."""
    weights = weight_bytes(checkpoint.config, placement.precision, placement.dtype)
    if placement.device.type == "cpu" and placement.automatic and weights > SMALL:
        _refuse_the_cpu(checkpoint, placement, weights)
    free = free_memory(placement.device)
    needed = footprint(checkpoint, placement.precision, placement.dtype)
    if free is not None and needed.total > free - _reserve(placement):
        raise _too_large(checkpoint, placement, needed, free)


def _examine(network: Transformer, checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    """Raise CheckpointError where the network plainly computes something else than its family says."""
    mask = checkpoint.token_ids(tokenizer.special_id).mask
    found = self_test(network, [tokenizer.encode(text).ids for text in TRIVIAL], mask)
    if found.wrong:
        raise CheckpointError(
            f"{checkpoint.directory} is not what its config.json says (family {checkpoint.family.name}): {found.message.rstrip('.')}.",
            "Choose another checkpoint; a new family needs an entry in engine/models/families.py.",
        )


def _refuse_the_cpu(checkpoint: Checkpoint, placement: Placement, weights: int) -> None:
    seconds = _seconds_per_pass(checkpoint, placement)
    why = f" ({placement.fallback_reason})" if placement.fallback_reason else ""
    raise DeviceError(
        f"{checkpoint.name} is made for a GPU, and there is none that can be used{why}. On the CPU it would take {_gb(weights)} of memory "
        f"and about {seconds:.1f} s for each denoise step over a prompt of {_TRIAL} tokens.",
        'Set device to "cpu" to run it there all the same, or use the model "nano".',
    )


def _too_large(checkpoint: Checkpoint, placement: Placement, needed: Footprint, free: int | None) -> DeviceError:
    smaller: tuple[Precision, ...] = ("int8", "int4")
    sizes = {name: footprint(checkpoint, name, placement.dtype).total for name in smaller if name != placement.precision}
    fitting = [f"{name} ({_gb(size)})" for name, size in sizes.items() if free is not None and size <= free - _reserve(placement)]
    if placement.quantize:
        fitting = [option for option in fitting if placement.quantize == "int8"]
    where = "main memory" if placement.device.type == "cpu" else str(placement.device)
    said = f"of which {where} has {_gb(free)} free" if free is not None else f"which {where} does not have"
    action = "Choose a smaller model (`dlsp models` lists what each needs) or another device."
    if fitting:
        action = f"Set dtype to {' or '.join(fitting)}."
    if free is not None:
        # A host lives on for a while after the last editor has turned to another model.
        action += " An engine that still has another model loaded holds memory too: `dlsp engine --status` shows it, `--stop` ends it."
    return DeviceError(
        f"{checkpoint.name} needs {_gb(needed.total)} in {placement.precision} ({_gb(needed.weights)} of weights, {_gb(needed.workspace)} "
        f"to work in), {said}.",
        action,
    )


def _reserve(placement: Placement) -> int:
    """Bytes that libraries take for themselves on a GPU."""
    return _GPU_RESERVE if placement.device.type == "cuda" else 0


def _seconds_per_pass(checkpoint: Checkpoint, placement: Placement) -> float:
    """An estimate from one small matrix product and the number of weights that a token uses."""
    config = checkpoint.config
    used = parameter_count(config) - config.vocab_size * config.hidden_size
    if config.moe is not None:
        sparse = (config.num_layers - config.moe.dense_layers) * (config.moe.num_experts - config.moe.experts_per_token)
        used -= sparse * 3 * config.hidden_size * config.moe.expert_size
    a = torch.ones(_TRIAL, _TRIAL, dtype=placement.dtype)
    a @ a
    began = time.perf_counter()
    a @ a
    return (time.perf_counter() - began) * used / _TRIAL**2


def _gb(size: int | None) -> str:
    return f"{(size or 0) / 1e9:.1f} GB"
