"""Draws denoise.svg: every canvas of one real run of `nano` on a hole of a file, one after the other, as an animation.

Run it from the repository's folder: `.venv/bin/python docs/images/denoise.py FILE:LINE:FROM-TO`. Columns count from 1; what stands
between them is the hole.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

from engine.api import Decoding, Hole, InfillRequest
from engine.runtime.engine import CanvasView, Engine

MODEL = "nano"
HOLE = "engine/bench/context.py:41:16-57"
TARGET = Path(__file__).with_suffix(".svg")
FRAME_SECONDS, LAST_SECONDS = 0.9, 3.0
CHARACTER, LINE, MARGIN = 8.43, 21, 18
ABOVE, BELOW = 5, 4
COLOURS = {"back": "#0f1420", "dim": "#8b97ad", "masked": "#b48ead", "sure": "#7ee0a1", "unsure": "#e6c07b", "note": "#5fb3d4"}


def main() -> None:
    path, *place = re.split("[:-]", sys.argv[1] if len(sys.argv) > 1 else HOLE)
    line, first, last = map(int, place)
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    above, head, tail, below = lines[: line - 1], lines[line - 1][: first - 1], lines[line - 1][last - 1 :], lines[line:]
    views: list[CanvasView] = []
    request = InfillRequest(
        prefix="\n".join([*above, head]),
        suffix="\n".join([tail, *below]),
        holes=(Hole(max_lines=1),),
        decoding=Decoding(schedule="threshold"),
        path=path,
        language="python",
    )
    result = Engine.load(MODEL).infill(request, on_step=views.append)
    around = (above[-ABOVE:], head, tail, below[:BELOW])
    # Before the first step there is nothing but masks.
    first = [[("masked", "░")] * len(views[0].slots)]
    frames = first + [_parts(view) for view in views] + [[("sure", result.text)]]
    notes = [f"step {number} of {len(views)}" for number in range(len(views) + 1)]
    notes.append(f"{len(views)} steps, {result.fills[0].tokens} tokens")
    TARGET.write_text(_svg(around, frames, notes), encoding="utf-8")
    print(f"{TARGET}: {len(frames)} pictures, {result.text!r}")


def _parts(view: CanvasView) -> list[tuple[str, str]]:
    parts = [("sure", view.text)] if view.text else []
    for slot in view.slots:
        if slot.state == "masked":
            parts.append(("masked", "░"))
        elif slot.state != "end":
            parts.append(("sure" if slot.confidence >= 0.5 else "unsure", slot.text))
    return parts


def _svg(around: tuple[list[str], str, str, list[str]], frames: list[list[tuple[str, str]]], notes: list[str]) -> str:
    above, head, tail, below = around
    rows = [*above, "", *below]
    width = round(2 * MARGIN + CHARACTER * max(len(head) + 34, *(len(row) for row in rows)))
    height = 2 * MARGIN + LINE * (len(rows) + 2)
    total = FRAME_SECONDS * (len(frames) - 1) + LAST_SECONDS

    def text(row: int, column: int, inside: str) -> str:
        return f'<text x="{MARGIN + CHARACTER * column:.1f}" y="{MARGIN + LINE * (row + 1)}" xml:space="preserve">{inside}</text>'

    def span(kind: str, content: str) -> str:
        return f'<tspan class="{kind}">{escape(content)}</tspan>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        "<title>A hole in a line of Python is denoised: masks become tokens, the surest first</title>",
        "<style>",
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}",
        *(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items()),
        f".frame{{opacity:0;animation:{total}s step-end infinite}}",
    ]
    for number in range(len(frames)):
        start, end = 100 * FRAME_SECONDS * number / total, 100 * FRAME_SECONDS * (number + 1) / total
        after = "" if number == len(frames) - 1 else f"{end:.2f}%{{opacity:0}}"
        before = "0%{opacity:0}" if number else ""
        out.append(f"@keyframes f{number}{{{before}{start:.2f}%{{opacity:1}}{after}}}.f{number}{{animation-name:f{number}}}")
    # Who wants no motion sees the end.
    out.append(f"@media (prefers-reduced-motion:reduce){{.frame{{animation:none}}.f{len(frames) - 1}{{opacity:1}}}}")
    out += ["</style>", f'<rect class="back" width="{width}" height="{height}" rx="8"/>']
    out += [text(number, 0, span("dim", row)) for number, row in enumerate(rows) if row]
    for number, (frame, note) in enumerate(zip(frames, notes, strict=True)):
        inside = span("dim", head) + "".join(span(kind, content) for kind, content in frame) + span("dim", tail)
        out.append(f'<g class="frame f{number}">{text(len(above), 0, inside)}{text(len(rows) + 1, 0, span("note", note))}</g>')
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    main()
