"""What crosses the wire between an editor's side and an engine: plain frozen structs, JSON by msgspec.

The one door between the two houses: `dlsp` knows an engine only through this file, `engine.errors` and `engine.config`.
All text is Unicode with "\\n" line ends; positions and byte offsets of documents do not appear here at all.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Finish = Literal["complete", "length", "deadline", "cancelled", "superseded"]
"""How denoising ended: the model closed the hole, or its line limit did; its token limit closed it; the deadline came first (the
text is the best so far, a draft is back as it was); the caller went away; a newer request for the same document replaced this one."""

LengthPolicy = Literal["", "end-token", "expand-delete", "hypotheses", "calibrated", "entropy-fit", "fixed"]
Score = Literal["", "confidence", "margin", "entropy"]
Schedule = Literal["", "threshold", "factor", "entropy-bound", "fixed", "speculative"]
Remask = Literal["", "none", "confidence", "remdm"]

State = Literal["starting", "loading", "downloading", "ready", "busy", "idle", "error"]


class Snippet(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of another document that may help, best first in `InfillRequest.snippets`. `path` is for the prompt only."""

    path: str
    text: str


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """One place to fill. `after` is the fixed text between this hole and the next one; it is empty for the last hole.

    `draft` is text that stands in the hole already. `noise` is the share of its tokens, the least confident first, that is
    masked and denoised again: 0 keeps the draft, 1 writes the hole anew. `locked` are spans (start, end) of the draft, in
    code points, that stay exactly as they are; the parts between them share the limits. A draft that is kept in part is
    not cut by `max_tokens` and `max_lines`.
    """

    max_tokens: int = 64
    max_lines: int = 1
    after: str = ""
    draft: str = ""
    noise: float = 1.0
    locked: tuple[tuple[int, int], ...] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may cost. `deadline_ms` counts from the engine's receipt of the request, 0 means no deadline.

    `prompt_tokens` bounds prefix, suffix and snippets together; 0 leaves it to the model's trained context. `snippet_share` is the
    share of the prefix's budget, 0 to 1, that snippets may take even where the text before the cursor would fill all of it.
    """

    deadline_ms: int = 0
    prompt_tokens: int = 0
    snippet_share: float = 0.0


class Decoding(msgspec.Struct, frozen=True, kw_only=True):
    """How to denoise; what is left empty or 0 is the model's own default (see docs/models.md for the choices).

    `length` finds the number of tokens, starting from (or, for `fixed`, with) `slots` of them, the word that healing takes
    back included; a model that fills canvas by canvas has a canvas of its own and uses `slots` for `fixed` alone. `score` ranks proposals,
    `schedule` decides how many a step commits, `level` is its parameter: the probability for `threshold`, the factor for
    `factor`, nats of entropy for `entropy-bound`, tokens a step for `fixed`. With `speculative` a canvas is drafted from the
    text around, or in one step, and checked left to right by the same network; holes with a draft, and lengths that are given,
    use `threshold`. `early_commit` finishes a hole at once when the mean gap between the two best logits is wide. `stability` >
    0 commits only slots whose distribution moved less than that (KL divergence, nats) in the last two steps. `temperature` 0 is
    greedy. `alternatives` asks for that many different answers. Without `healing` the prompt is tokenized as it is cut, as
    published evaluations do; an editor's cursor often stands inside a token.
    """

    length: LengthPolicy = ""
    slots: int = 0
    score: Score = ""
    schedule: Schedule = ""
    level: float = 0.0
    early_commit: bool | None = None
    stability: float = 0.0
    remask: Remask = ""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    alternatives: int = 1
    healing: bool = True


class InfillRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Text around one hole, or around several (`prefix`, hole, its `after`, hole, ..., `suffix`).

    `document` names the document for superseding and reuse: a newer request with the same `client` and `document`
    replaces an older one. It is opaque to the engine.
    """

    prefix: str
    suffix: str = ""
    holes: tuple[Hole, ...] = (Hole(),)
    snippets: tuple[Snippet, ...] = ()
    limits: Limits = Limits()
    decoding: Decoding = Decoding()
    client: str = ""
    document: str = ""
    version: int = 0
    path: str = ""
    language: str = ""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the text of a fill that was decided at once, and the probability it was decided with, 0 to 1.

    That probability is the network's own: a checkpoint's calibration is for whole fills. What stood there already, such as locked
    text, has 1.
    """

    text: str
    confidence: float


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into one hole.

    `confidence` is the model's own estimate that the text is exactly right, 0 to 1: the product of the probabilities of the tokens
    that were decided, those that decided its length included, made a probability by the checkpoint's calibration where it has one
    (`dlsp train calibrate`). What was cut off is never more sure than the product. `tokens` counts what stands on the canvas within the
    token limit, the word that healing took back included. `pieces` joined are the text; empty where they are not known.
    """

    text: str
    confidence: float
    tokens: int
    pieces: tuple[Piece, ...] = ()


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds spent waiting for other requests, on the prompt (tokenizing, encoding the context), and denoising."""

    queue_ms: float = 0.0
    prompt_ms: float = 0.0
    denoise_ms: float = 0.0


class InfillResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one request, one `Fill` a hole; `others` are the further alternatives that were asked for, best first.

    `reason` says why there is no text when there is none (`empty_output`, `deadline`, `cancelled`, `superseded`), and is
    empty otherwise. `steps` are denoise steps, `forwards` network passes (context encoding included), `reused_tokens`
    context tokens whose keys and values were still there from an earlier request.
    """

    fills: tuple[Fill, ...]
    finish: Finish
    reason: str = ""
    steps: int = 0
    forwards: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    timings: Timings = Timings()
    model: str = ""
    device: str = ""
    length_policy: str = ""
    others: tuple[tuple[Fill, ...], ...] = ()

    @property
    def text(self) -> str:
        """The text of the first hole."""
        return self.fills[0].text if self.fills else ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One state of an engine. `reason` is machine-readable, `message` one sentence for a person, `progress` 0 to 1 while loading.

    `prompt_tokens` is how many tokens of context the model reads, 0 while that is not known; `reads_snippets` whether it takes text
    from other files.
    """

    state: State
    reason: str = ""
    message: str = ""
    model: str = ""
    device: str = ""
    dtype: str = ""
    progress: float = 0.0
    pid: int = 0
    version: str = ""
    prompt_tokens: int = 0
    reads_snippets: bool = True


class HostAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where an engine answers: a Unix socket path, or a URL with the bearer token it asks for.

    A starting host prints one as a JSON line: `pid` is its process and `log` the file it writes to (0 and empty for an
    engine that is no local process).
    """

    socket: str = ""
    url: str = ""
    token: str = ""
    pid: int = 0
    log: str = ""


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """Body of every HTTP answer that is not a success: the class name from `engine.errors`, one sentence, the next action."""

    type: str
    message: str
    action: str = ""


def empty_result(finish: Finish, reason: str, model: str = "", device: str = "") -> InfillResult:
    """An answer without text; invariant 8: it always has a reason."""
    return InfillResult(fills=(), finish=finish, reason=reason, model=model, device=device)
