"""`dlsp stats`: show what was suggested and what became of it, or delete the counts. How they are added up is not known here."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer

from dlsp.log import counts_file
from dlsp.stats import Summary, clear, read, summarize
from dlsp.status import REASONS
from engine.errors import ConfigError

_MOST_LANGUAGES = 6
_MOST_REASONS = 12
_WHEN = {"30": "after 30 s", "120": "after 2 min", "300": "after 5 min"}
_LATENCY = {"new": "asked of the model", "known": "known already"}


def stats(
    days: Annotated[float, typer.Option(min=0.01, help="Look at the last so many days.")] = 30.0,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete all counts instead.")] = False,
) -> None:
    """Say what was shown, accepted and kept, how fast, and why nothing was shown. All of it stays on this machine."""
    file = counts_file()
    try:
        if delete:
            print(f"Deleted the counts in {file}." if clear(file) else "There are no counts to delete.")
            return
        summary = summarize(read(file), days, time.time())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    if json:
        print(msgspec.json.encode(summary).decode())
    else:
        print("\n".join(_lines(summary)))
        print(f"\nFrom {file}, which holds no text and no paths; the setting `stats` switches it off, `dlsp stats --delete` empties it.")


def _lines(summary: Summary) -> list[str]:
    """The summary for people."""
    if not summary.shown and not summary.reasons:
        return [f"Nothing was asked in the last {summary.days:g} days."]
    rows = [
        ("shown", str(summary.shown)),
        ("accepted", f"{summary.accepted}, and {summary.partial} in part ({summary.acceptance:.0%}), {summary.characters} characters"),
        ("typed by hand", str(summary.typed)),
        ("turned down", str(summary.rejected)),
        ("passed over", str(summary.ignored)),
    ]
    for seconds, kept in summary.retained.items():
        share = f"{kept.retained / kept.accepted:.0%}" if kept.accepted else "-"
        rows.append(("still there", f"{share} of {kept.accepted} characters {_WHEN.get(seconds, f'after {seconds} s')}"))
    for name, latency in summary.latency.items():
        rows.append(("latency", f"{latency.p50:g} ms median, {latency.p95:g} ms p95 of {latency.answers} {_LATENCY.get(name, name)}"))
    if summary.stages:
        rows.append(("of which", ", ".join(f"{name} {ms:g} ms" for name, ms in summary.stages.items())))
    lines = [f"The last {summary.days:g} days:", *(f"  {name:<14} {text}" for name, text in rows)]
    if summary.languages:
        lines += ["", "  language        shown  accepted"]
        for language, tally in list(summary.languages.items())[:_MOST_LANGUAGES]:
            lines.append(f"  {language or '-':<14} {tally.shown:>6} {tally.accepted:>9}")
    if summary.reasons:
        lines += ["", "Why there was nothing to show:"]
        for reason, count in list(summary.reasons.items())[:_MOST_REASONS]:
            lines.append(f"  {count:>7}  {reason:<18} {REASONS.get(reason, '')}".rstrip())
    return lines
