"""`dlsp infill PATH:LINE:COL`: fill one hole in a file, in this process, and print what goes there.

Reads the file and shows the answer; how the hole is filled is the engine's business.
"""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import msgspec
import typer

from dlsp.settings import read_file, resolve, user_file
from engine.api import Hole, InfillRequest, InfillResult, Limits
from engine.config import DType, EngineConfig
from engine.errors import ConfigError, DocumentError, RequestError

if TYPE_CHECKING:
    from rich.text import Text

    from engine.runtime.engine import CanvasView

WATCH_STEP_SECONDS = 0.12
"""A small model denoises faster than anyone can read; --watch pauses this long on every canvas."""

WATCH_CONTEXT_LINES = 4
DIFF_CONTEXT_LINES = 3


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a file. `line` and `column` count from 1, `column` in code points; one past the last character is a place too."""

    path: Path
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file cut in two at a cursor, as it stands. `eol` is the line end it mostly uses."""

    cursor: Cursor
    before: str
    after: str
    eol: str

    @property
    def prefix(self) -> str:
        """What stands before the hole, with "\\n" line ends."""
        return _unix(self.before)

    @property
    def suffix(self) -> str:
        """What stands after the hole, with "\\n" line ends."""
        return _unix(self.after)


def infill(
    where: Annotated[str, typer.Argument(metavar="PATH:LINE:COL", help="The hole; line and column count from 1.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(
            help='"nano", a model that `dlsp models` lists, or the path of a checkpoint folder.', show_default="as in the settings file"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.", show_default="as in the settings file")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="auto, float32, bfloat16, float16, int8 or int4.", show_default="as in the settings file"),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, max=1024, help="The longest answer, in tokens.")] = 64,
    max_lines: Annotated[int, typer.Option(min=1, max=200, help="The longest answer, in lines.")] = 1,
    deadline_ms: Annotated[int, typer.Option(min=0, help="Take the best so far after this many milliseconds; 0: no deadline.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON with text, reason, steps, timings and more.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show the answer in place, as a diff of the file.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Watch the canvas denoise (on stderr).")] = False,
) -> None:
    """Fill one hole in a file and print only what goes there. Nothing is written to the file."""
    if json and diff:
        raise RequestError("--json and --diff exclude each other.", "Choose one.")
    source = read_source(parse_cursor(where))
    config = _engine_config(model, device, dtype)
    request = InfillRequest(
        prefix=source.prefix,
        suffix=source.suffix,
        holes=(Hole(max_tokens=max_tokens, max_lines=max_lines),),
        limits=Limits(deadline_ms=deadline_ms),
        client="cli",
        document=str(source.cursor.path),
        path=str(source.cursor.path),
    )

    # Not before everything cheap has been checked: this import takes a second or two.
    from engine.models.notices import notice_once
    from engine.runtime.engine import Engine

    started = time.monotonic()
    engine = Engine.load(config.model, device=config.device, dtype=config.dtype, threads=config.threads)
    load_ms = (time.monotonic() - started) * 1000
    for said in (engine.fallback_reason, notice_once(engine.family, engine.notice)):
        if said:
            print(f"dlsp: {said}", file=sys.stderr)
    result = _watched(engine.infill, request, source) if watch else engine.infill(request)

    if json:
        facts = _facts(result, load_ms) | {"dtype": str(engine.dtype), "fallback_reason": engine.fallback_reason or ""}
        print(msgspec.json.encode(facts).decode())
    elif diff:
        _print_diff(source, result.text)
    else:
        print(_printable(result.text) if sys.stdout.isatty() else result.text)
    if not result.text:
        print(f"dlsp: nothing to put there ({result.reason or result.finish}).", file=sys.stderr)


def parse_cursor(where: str) -> Cursor:
    """PATH:LINE:COL taken apart from the right, so that the path itself may contain colons. Raises RequestError."""
    path, line, column = (["", "", "", *where.rsplit(":", 2)])[-3:]
    if not (path and line.isdecimal() and column.isdecimal()):
        raise RequestError(f"{where!r} is not a position.", "Write PATH:LINE:COL, such as src/app.py:12:5.")
    return Cursor(Path(path), int(line), int(column))


def read_source(cursor: Cursor) -> Source:
    """The file around a cursor. Raises DocumentError if there is no such file, it is no UTF-8 text, or it has no such position."""
    text = _read_text(cursor.path)
    lines = _split_lines(text)
    if not lines or lines[-1].endswith(("\n", "\r")):
        lines.append("")  # An editor shows this line, so it is a place to be.
    name = str(cursor.path)
    if not 1 <= cursor.line <= len(lines):
        raise DocumentError(f"{name} has no line {cursor.line}.", f"Its lines are 1 to {len(lines)}.")
    end = len(lines[cursor.line - 1].rstrip("\r\n")) + 1
    if not 1 <= cursor.column <= end:
        raise DocumentError(f"Line {cursor.line} of {name} has no column {cursor.column}.", f"Its columns are 1 to {end}.")
    offset = sum(map(len, lines[: cursor.line - 1])) + cursor.column - 1
    return Source(cursor, text[:offset], text[offset:], _line_end(text))


def unified_diff(source: Source, middle: str) -> list[str]:
    """A unified diff from the file to the file with `middle` in the hole. Every line has its own line end, as `patch` wants them."""
    old = _split_lines(source.before + source.after)
    new = _split_lines(source.before + middle.replace("\n", source.eol) + source.after)
    name = source.cursor.path.as_posix().lstrip("/")
    return [
        line if line.endswith(("\n", "\r")) else line + "\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", n=DIFF_CONTEXT_LINES)
    ]


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DocumentError(f"{path} is not a regular file.", "Give the path of a file.")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DocumentError(f"There is no file {path}.", "Check the path.") from error
    except IsADirectoryError as error:
        raise DocumentError(f"{path} is a directory.", "Give the path of a file.") from error
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error
    except ValueError as error:  # a null character in the path
        raise DocumentError(f"{str(path)!r} is not a path.", "Check the path.") from error
    if b"\0" in data:
        raise DocumentError(f"{path} is a binary file.", "dlsp fills holes in text files only.")
    try:
        # A byte order mark is no part of the text: an editor does not count it as a column either.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path} is not UTF-8 text (byte {error.start + 1}).", "Convert it to UTF-8 first.") from error


def _printable(text: str) -> str:
    """For a terminal: control characters but line ends and tabs as U+FFFD, so that a model cannot move the cursor."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text)


def _split_lines(text: str) -> list[str]:
    """Lines with their ends. Only what an editor takes for a line end counts: no form feed, no U+2028."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line_end(text: str) -> str:
    windows = text.count("\r\n")
    unix = text.count("\n") - windows
    old_mac = text.count("\r") - windows
    return max((unix, "\n"), (windows, "\r\n"), (old_mac, "\r"), key=lambda pair: pair[0])[1]


def _engine_config(model: str | None, device: str | None, dtype: str | None) -> EngineConfig:
    """The settings file's engine with the options instead, checked before anything slow happens. Raises ConfigError."""
    options = read_file(user_file())
    for problem in options.problems:
        print(f"dlsp: {problem}", file=sys.stderr)
    settings = resolve([options]).engine()
    if dtype is not None and dtype not in get_args(DType):
        raise ConfigError(f"There is no number format {dtype!r}.", f"Use one of {', '.join(get_args(DType))}.")
    return EngineConfig(
        model=settings.model if model is None else model,
        device=device or settings.device,
        dtype=cast(DType, dtype or settings.dtype),
        threads=settings.threads,
    )


def _facts(result: InfillResult, load_ms: float) -> dict[str, Any]:
    fill = result.fills[0] if result.fills else None
    return {
        "text": result.text,
        "reason": result.reason,
        "finish": result.finish,
        "confidence": fill.confidence if fill else 0.0,
        "tokens": fill.tokens if fill else 0,
        "steps": result.steps,
        "forwards": result.forwards,
        "prompt_tokens": result.prompt_tokens,
        "timings": {"load_ms": round(load_ms, 1), **msgspec.to_builtins(result.timings)},
        "model": result.model,
        "device": result.device,
    }


def _print_diff(source: Source, middle: str) -> None:
    lines = unified_diff(source, middle)
    if not sys.stdout.isatty():
        # Line ends must arrive as they are; the text layer would turn them into the platform's own.
        sys.stdout.flush()
        sys.stdout.buffer.write("".join(lines).encode())
        sys.stdout.buffer.flush()
        return
    from rich.console import Console
    from rich.text import Text

    styles = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        style = next((style for start, style in styles.items() if line.startswith(start)), "")
        console.print(Text(line.rstrip("\r\n"), style=style))


def _watched(fill: Callable[..., InfillResult], request: InfillRequest, source: Source) -> InfillResult:
    """`fill(request)` with every canvas shown in place, between the lines around the hole."""
    from rich.console import Console
    from rich.live import Live

    above = "\n".join(source.prefix.split("\n")[-WATCH_CONTEXT_LINES:])
    below = "\n".join(source.suffix.split("\n")[:WATCH_CONTEXT_LINES])
    with Live(console=Console(stderr=True), auto_refresh=False) as live:

        def show(view: CanvasView) -> None:
            live.update(_canvas_text(view, above, below), refresh=True)
            time.sleep(WATCH_STEP_SECONDS)

        result = fill(request, on_step=show)
    return result


def _canvas_text(view: CanvasView, above: str, below: str) -> Text:
    from rich.text import Text

    text = Text(above, style="dim")
    text.append(view.text, style="bold green")
    for slot in view.slots:
        if slot.state == "masked":
            text.append("░", style="magenta")
        elif slot.state == "end":
            text.append("⏎", style="cyan")
        else:
            text.append(slot.text, style="bold green" if slot.confidence >= 0.9 else "green" if slot.confidence >= 0.5 else "yellow")
    text.append(below, style="dim")
    masked = sum(slot.state == "masked" for slot in view.slots)
    text.append(f"\nstep {view.step}, {masked} of {len(view.slots)} still masked", style="italic cyan")
    return text
