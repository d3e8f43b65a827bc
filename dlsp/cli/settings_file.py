"""Changes one setting in the user's file and leaves everything else in it as it stands: comments, order, line ends.

Knows TOML as far as this takes; what the setting means is not known here.
"""

from __future__ import annotations

import os
import re
import tomllib
import uuid
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

_TABLE = re.compile(r"[ \t]*\[")
_OWN_TABLE = re.compile(r"[ \t]*\[[ \t]*(dlsp|\"dlsp\"|'dlsp')[ \t]*\][ \t]*(#.*)?")
_STRING = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*')"


def write_text_setting(path: Path, name: str, value: str) -> None:
    """Set `name` to a text in the TOML file at `path`, which is made where it is missing. At once or not at all.

    Raises ConfigError where the file is not valid, cannot be written, or has a form that cannot be edited safely.
    """
    # A file of settings is often a link into a folder of them; the link stays.
    path = Path(os.path.realpath(path))
    before = _read(path)
    after = edited(before, name, value)
    wanted = _parsed(before, path)
    table = wanted["dlsp"] if isinstance(wanted.get("dlsp"), dict) else wanted
    table[name] = value
    try:
        same = tomllib.loads(after) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ConfigError(
            f"{path} has a form that cannot be changed safely from here.", f"Write {name} = {quoted(value)} into it yourself."
        )
    _write(path, after)


def edited(text: str, name: str, value: str) -> str:
    """`text` with the line of the setting replaced, or added among the settings; the caller checks what it means."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(end)
    start, stop = _settings_lines(lines)
    line = re.compile(rf"(?P<key>[ \t]*(?:{name}|\"{name}\"|'{name}')[ \t]*=[ \t]*){_STRING}(?P<rest>[ \t]*(?:#.*)?)")
    for number in range(start, stop):
        if match := line.fullmatch(lines[number]):
            lines[number] = f"{match['key']}{quoted(value)}{match['rest']}"
            return end.join(lines)
    while stop < len(lines) and stop > start and lines[stop - 1].lstrip().startswith("#"):
        stop -= 1  # comments right above a table are the table's
    while stop > start and not lines[stop - 1].strip():
        stop -= 1  # behind the last setting, before the empty lines that end them
    lines.insert(stop, f"{name} = {quoted(value)}")
    if stop == len(lines) - 1:
        lines.append("")
    return end.join(lines)


def quoted(value: str) -> str:
    """A text as TOML writes it: as it is where that is possible, so that Windows paths stay readable."""
    if ("\\" in value or '"' in value) and "'" not in value and value.isprintable():
        return f"'{value}'"
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" if c not in '"\\' else f"\\{c}" for c in value)
    return f'"{escaped}"'


def _settings_lines(lines: list[str]) -> tuple[int, int]:
    """The lines that hold the settings, from the first to behind the last: the table `dlsp`, or what stands before any table."""
    start = next((number + 1 for number, line in enumerate(lines) if _OWN_TABLE.fullmatch(line)), 0)
    stop = next((number for number in range(start, len(lines)) if _TABLE.match(lines[number])), len(lines))
    return start, stop


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}).", "Check the file and its permissions.") from error


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", "Correct it first; nothing was changed.") from error


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(text.encode())
        if path.exists():
            draft.chmod(path.stat().st_mode & 0o7777)
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror or error}).", "Check the permissions of its folder.") from error
    finally:
        draft.unlink(missing_ok=True)
