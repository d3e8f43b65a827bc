"""Every setting, once: its name, type, limits, default and meaning; what clients and the user's file say becomes `Settings`.

The JSON schema, the table in the docs, VS Code's block and Neovim's annotations are generated from here (`python -m dlsp.settings`).
Knows no protocol and no backend.
"""

from __future__ import annotations

import difflib
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from engine.config import DType, EngineConfig
from engine.errors import ConfigError

LANGUAGES_OFF = ("plaintext", "markdown")
"""Languages that are off unless `languages` says otherwise."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is in force. A name on the wire is the field's name in camelCase."""

    enabled: Annotated[bool, Meta(description="Offer completions at all.")] = True
    languages: Annotated[
        dict[str, bool],
        Meta(description='Language id to on or off; "*" stands for all that are not named. `plaintext` and `markdown` are off by default.'),
    ] = {}
    exclude: Annotated[
        tuple[str, ...],
        Meta(
            description="Further files that never enter a prompt, as .gitignore patterns. "
            "Secrets (.env, keys, credentials) are excluded as well, see `excludeSecrets`."
        ),
    ] = ()
    exclude_secrets: Annotated[
        bool, Meta(description="Keep files that look like secrets (.env, keys, certificates, credentials) out of every prompt.")
    ] = True
    trigger: Annotated[
        Literal["automatic", "manual"], Meta(description="`automatic` offers text while you type, `manual` only when you ask for it.")
    ] = "automatic"
    eagerness: Annotated[
        Literal["low", "medium", "high"],
        Meta(description="How readily text is offered: `low` waits longer and wants more certainty, `high` the contrary."),
    ] = "medium"
    debounce_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=5000,
            description="Longest pause after a keystroke before the model is asked, in milliseconds. "
            "The pause adapts to how you type and how fast the model is, and stays below it; 0 never waits.",
        ),
    ] = 300
    multiline: Annotated[
        Literal["auto", "invoked", "never"],
        Meta(description="When whole blocks are offered: where one is due, only when you ask, or never."),
    ] = "auto"
    min_characters: Annotated[int, Meta(ge=1, le=200, description="Automatic suggestions shorter than this are not shown.")] = 2
    alternatives: Annotated[int, Meta(ge=1, le=8, description="Different texts to choose from when you ask for a completion.")] = 3
    prefetch: Annotated[
        Literal["auto", "always", "never"],
        Meta(description="Compute what follows a shown suggestion ahead of its acceptance; `auto` does so when the model runs on a GPU."),
    ] = "auto"
    popup: Annotated[
        Literal["auto", "always", "never"],
        Meta(description="Offer text in the completion popup; `auto` does so for editors without inline completion."),
    ] = "auto"
    context: Annotated[
        tuple[Literal["openFiles", "recentEdits", "imports", "definitions", "siblings", "outline"], ...],
        Meta(description="Where text beyond the current file may come from, for models that read it; nano does not."),
    ] = ("openFiles", "recentEdits", "imports", "definitions", "siblings", "outline")
    context_ms: Annotated[int, Meta(ge=0, le=1000, description="Most time spent on gathering context, in milliseconds.")] = 30
    context_share: Annotated[
        float, Meta(ge=0, le=0.8, description="Share of the text before the cursor that gives way to context from elsewhere.")
    ] = 0.25
    hole_markers: Annotated[
        tuple[str, ...], Meta(description="Further words that mark a hole to fill, beside `...`, `TODO`, `pass` and `NotImplementedError`.")
    ] = ()
    infill_deadline_ms: Annotated[
        int,
        Meta(
            ge=0, le=600_000, description="Most time for a command that fills a selection or several holes, in milliseconds; 0: no limit."
        ),
    ] = 20_000
    tab_stops: Annotated[
        bool, Meta(description="Make the uncertain parts of filled text tab stops, in editors that know snippet edits.")
    ] = False
    stats: Annotated[
        bool, Meta(description="Keep counts of what was shown and accepted in a local file, without any text; see `dlsp stats`.")
    ] = True
    deadline_ms: Annotated[
        int,
        Meta(ge=0, le=600_000, description="After this many milliseconds the best text so far is taken; 0 waits for the model to finish."),
    ] = 300
    min_confidence: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Automatic suggestions the model is less sure of than this, by the line, are hidden; 0 shows all.",
        ),
    ] = 0.4
    max_lines: Annotated[int, Meta(ge=1, le=200, description="Longest block offered, in lines.")] = 12
    prompt_tokens: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Most tokens of context given to the model; 0 leaves it to the model.")
    ] = 0
    model: Annotated[
        str, Meta(min_length=1, description="Model: `nano`, one that `dlsp models` lists, or the path of a checkpoint folder.")
    ] = "nano"
    device: Annotated[str, Meta(description="Where the model runs: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.")] = "auto"
    dtype: Annotated[
        DType,
        Meta(description="Number format of the weights; `auto` suits the device, `int8` and `int4` take less memory."),
    ] = "auto"
    threads: Annotated[int, Meta(ge=0, le=1024, description="CPU threads of the engine; 0 leaves it to torch.")] = 0
    idle_exit_seconds: Annotated[
        float, Meta(gt=0, description="The engine ends, and frees its memory, this many seconds after its last use.")
    ] = 900.0
    backend: Annotated[
        Literal["local", "remote"], Meta(description="`local` runs the model on this machine; `remote` sends prompts to `remoteUrl`.")
    ] = "local"
    remote_url: Annotated[str, Meta(description="Address of a team server, http or https. Used only when `backend` is `remote`.")] = ""
    remote_token: Annotated[str, Meta(description="Token the team server asks for.")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="What the log keeps. Only `debug` may write text of your documents to it."),
    ] = "info"

    def engine(self) -> EngineConfig:
        """The part that a local engine is started with."""
        return EngineConfig(
            model=self.model, device=self.device, dtype=self.dtype, threads=self.threads, idle_exit_seconds=self.idle_exit_seconds
        )

    def backend_key(self) -> tuple[object, ...]:
        """Equal exactly for settings that one and the same backend can serve."""
        return (self.backend, self.remote_url, self.remote_token) if self.backend == "remote" else (self.backend, self.engine())

    def offers(self, language: str) -> bool:
        """Whether a language is on."""
        named = self.languages.get(language)
        return named if named is not None else self.languages.get("*", language not in LANGUAGES_OFF)


class Options(msgspec.Struct, frozen=True):
    """One source's wishes: the valid values by field name, and a sentence for each value that is not."""

    values: dict[str, Any] = {}
    problems: tuple[str, ...] = ()

    def sent(self) -> dict[str, Any]:
        """The values by their names on the wire, as plain JSON types."""
        names = {field: name for name, (field, _) in _types().items()}
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode({names[field]: value for field, value in self.values.items()}))
        return plain


def read_options(raw: object, source: str) -> Options:
    """Check what a client or a file sent. Null means not set; a wrong value costs itself only. `source` begins each problem."""
    if raw is None:
        return Options()
    if isinstance(raw, Mapping) and isinstance(raw.get("dlsp"), Mapping):
        raw = raw["dlsp"]
    if not isinstance(raw, Mapping):
        return Options(problems=(f"{source}: settings must be an object, not {type(raw).__name__}.",))
    values: dict[str, Any] = {}
    problems: list[str] = []
    types = _types()
    for name, value in raw.items():
        if value is None:
            continue
        if name not in types:
            near = difflib.get_close_matches(str(name), types, n=1)
            problems.append(f"{source}: there is no setting `{name}`{f'; did you mean `{near[0]}`?' if near else '.'}")
            continue
        field, kind = types[name]
        try:
            values[field] = _checked(field, msgspec.convert(value, kind))
        except msgspec.ValidationError:
            problems.append(f"{source}: `{name}` is ignored: {_complaint(name, value)}")
        except ConfigError as error:
            problems.append(f"{source}: `{name}` is ignored: {error}")
    return Options(values, tuple(problems))


def read_file(path: Path) -> Options:
    """The user's TOML file. A file that is not there says nothing; one that cannot be read is a problem, not an error."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Options()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return Options(problems=(f"{path.name}: the file is ignored: {error}.",))
    return read_options(raw, path.name)


def resolve(layers: Iterable[Options]) -> Settings:
    """Settings from sources of rising precedence. `languages`, `exclude` and `holeMarkers` add up; of all else the last word counts."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for field, value in layer.values.items():
            if field == "languages":
                merged[field] = {**merged.get(field, {}), **value}
            elif field in ("exclude", "hole_markers"):
                merged[field] = (*merged.get(field, ()), *(glob for glob in value if glob not in merged.get(field, ())))
            else:
                merged[field] = value
    return Settings(**merged)


def user_file() -> Path:
    """Where the user's file is looked for."""
    from platformdirs import user_config_path

    return user_config_path("dlsp", appauthor=False) / "config.toml"


def schema() -> dict[str, Any]:
    """JSON Schema of what a client may send and of the user's file. Choices stand in the order in which they are declared."""
    (_, components) = msgspec.json.schema_components((Settings,))
    properties = components["Settings"]["properties"]
    for name, (_field, kind) in _types().items():
        if choices := _choices(kind):
            (properties[name].get("items") or properties[name])["enum"] = list(choices)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dlsp settings",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def generated() -> dict[str, str]:
    """The files made from this one, path below the repository root -> content."""
    facts = schema()
    properties: dict[str, dict[str, Any]] = facts["properties"]
    rows = [
        f"| `{name}` | {_type_name(property)} | `{_json(property['default'])}` | {property['description']} |"
        for name, property in properties.items()
    ]
    return {
        "dlsp/settings.schema.json": _pretty(facts),
        "docs/settings.md": "\n".join([*_DOCS_HEAD, *rows, ""]),
        "editors/vscode/settings.generated.json": _pretty(_vscode(properties)),
        "editors/nvim/lua/dlsp/settings.lua": "\n".join([*_LUA_HEAD, *_lua_fields(properties), "", "return {}", ""]),
    }


def write_generated(root: Path) -> list[Path]:
    """Write the generated files below `root`; returns those that changed."""
    written = []
    for name, content in generated().items():
        path = root / name
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            written.append(path)
    return written


_DOCS_HEAD = (
    "# Settings",
    "",
    "<!-- Generated by `make settings` from dlsp/settings.py. Do not edit. -->",
    "",
    "The same names work everywhere: as `initializationOptions`, as the section `dlsp` of the editor's configuration, and in the",
    "user's file `config.toml` (in `~/.config/dlsp/` on Linux, `~/Library/Application Support/dlsp/` on macOS,",
    "`%LOCALAPPDATA%\\dlsp\\` on Windows).",
    "The editor's word counts more than the file's. A value that is not valid is named in the log and ignored; the others still count.",
    "",
    "| setting | type | default | meaning |",
    "|---|---|---|---|",
)
_LUA_HEAD = (
    "---@meta",
    "-- Generated by `make settings` from dlsp/settings.py. Do not edit.",
    "-- Types for the language server of Lua itself: annotate a table with `---@type dlsp.Settings` to have its fields completed.",
    "",
    "---@class dlsp.Settings",
)
# A folder that somebody else wrote must not be able to say what of the user's text is sent where, nor read the token.
_MACHINE_ONLY = frozenset({"backend", "remoteUrl", "remoteToken", "excludeSecrets"})
_MACHINE_FIRST = frozenset({"model", "device", "dtype", "threads", "idleExitSeconds"})


def _types() -> dict[str, tuple[str, Any]]:
    """Name on the wire -> field and type."""
    hints = get_type_hints(Settings, include_extras=True)
    return {field.encode_name: (field.name, hints[field.name]) for field in msgspec.structs.fields(Settings)}


def _checked(field: str, value: Any) -> Any:
    """A value that has the right type, if it also makes sense; raises ConfigError."""
    if field == "device":
        try:
            EngineConfig(device=value)
        except ConfigError as error:
            raise ConfigError(f"it is {json.dumps(value)}.", error.action) from error
    if field == "remote_url" and value and not value.startswith(("http://", "https://")):
        raise ConfigError("it must begin with http:// or https://.")
    return value


def _complaint(name: str, value: Any) -> str:
    """What is wrong with a value that has not the right type. Of values only choices are quoted: a token must not get into the log."""
    property: dict[str, Any] = schema()["properties"][name]
    allowed = property.get("items", property).get("enum")
    if allowed is None:
        return f"it must be {_wanted(property)}."
    choices = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    if "items" in property:
        odd = [one for one in value if isinstance(one, str) and one not in allowed] if isinstance(value, list) else []
        return f"it has {json.dumps(odd[0])}. Use a list of {choices}." if odd else f"it must be a list of {choices}."
    return f"it is {json.dumps(value)}. Use {choices}." if isinstance(value, str) else f"it must be {choices}."


def _wanted(property: Mapping[str, Any]) -> str:
    """The type of a setting without choices, with its limits, for somebody who does not program."""
    kind = property["type"]
    if kind == "array":
        return "a list of texts"
    if kind == "object":
        return "a table of names, each with true or false"
    if kind == "string":
        return "a text that is not empty" if "minLength" in property else "a text"
    if kind == "boolean":
        return "true or false"
    number = "a whole number" if kind == "integer" else "a number"
    if "exclusiveMinimum" in property:
        return f"{number} above {property['exclusiveMinimum']:g}"
    return f"{number} from {property['minimum']} to {property['maximum']}"


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal, also of one inside `Annotated` and `tuple`; none for every other type."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    inner = get_args(kind)
    return _choices(inner[0]) if inner and get_origin(kind) is not dict else ()


def _type_name(property: Mapping[str, Any]) -> str:
    if "enum" in property:
        return ", ".join(f"`{choice}`" for choice in property["enum"])
    if "enum" in property.get("items", {}):
        return f"list of {_type_name(property['items'])}"
    limits = [
        f"{word} {property[key]}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if key in property
    ]
    return " ".join([{"array": "list of texts", "object": "map of text to boolean"}.get(property["type"], property["type"]), *limits])


def _vscode(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The block `contributes.configuration` of an extension's package.json."""
    entries = {}
    for order, (name, property) in enumerate(properties.items()):
        scope = "machine" if name in _MACHINE_ONLY else "machine-overridable" if name in _MACHINE_FIRST else "window"
        # Without a type VS Code shows no list to choose from.
        facts = {"type": "string"} | {key: value for key, value in property.items() if key != "description"}
        entries[f"dlsp.{name}"] = {**facts, "markdownDescription": property["description"], "scope": scope, "order": order}
    return {"title": "dlsp", "properties": entries}


def _lua_fields(properties: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"---@field {name}? {_lua_type(property)} {property['description']} Default: `{_json(property['default'])}`."
        for name, property in properties.items()
    ]


def _lua_type(property: Mapping[str, Any]) -> str:
    if "enum" in property:
        return "|".join(_json(choice) for choice in property["enum"])
    if property["type"] == "array":
        kind = _lua_type(property["items"])
        return f"({kind})[]" if "|" in kind else f"{kind}[]"
    return "table<string, boolean>" if property["type"] == "object" else str(property["type"])


def _pretty(facts: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode() + "\n"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    for changed in write_generated(Path(__file__).resolve().parent.parent):
        print(f"wrote {changed}", file=sys.stderr)
