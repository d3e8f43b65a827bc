from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlsp.settings import Settings, generated, read_file, read_options, resolve, schema, write_generated
from engine.config import EngineConfig

ROOT = Path(__file__).resolve().parents[2]


def test_wrong_values_are_named_and_the_good_ones_kept() -> None:
    options = read_options({"debounceMs": "soon", "maxLines": 3, "device": "gpu", "colour": "red", "deadlineMs": -1}, "configuration")
    assert options.values == {"max_lines": 3}
    assert len(options.problems) == 4
    for name in ("debounceMs", "device", "colour", "deadlineMs"):
        assert any(f"`{name}`" in problem for problem in options.problems), name
    assert options.problems[0] == "configuration: `debounceMs` is ignored: it must be a whole number from 0 to 5000."
    assert all(problem.startswith("configuration: ") and problem.endswith(".") for problem in options.problems)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("eagerness", "hgh", 'it is "hgh". Use low, medium or high.'),
        ("eagerness", 3, "it must be low, medium or high."),
        ("backend", "team", 'it is "team". Use local or remote.'),
        ("device", "gpu", 'it is "gpu". Use auto, cpu, mps, cuda or cuda:N.'),
        ("context", ["imports", "foo"], 'it has "foo". Use a list of openFiles, recentEdits, imports, definitions, siblings or outline.'),
        ("context", "imports", "it must be a list of openFiles, recentEdits, imports, definitions, siblings or outline."),
        ("context", [3], "it must be a list of openFiles, recentEdits, imports, definitions, siblings or outline."),
        ("maxLines", 0, "it must be a whole number from 1 to 200."),
        ("maxLines", 1.5, "it must be a whole number from 1 to 200."),
        ("minConfidence", "much", "it must be a number from 0 to 1."),
        ("idleExitSeconds", 0, "it must be a number above 0."),
        ("enabled", "yes", "it must be true or false."),
        ("languages", {"c": "on"}, "it must be a table of names, each with true or false."),
        ("exclude", "a", "it must be a list of texts."),
        ("model", "", "it must be a text that is not empty."),
        ("remoteUrl", "ftp://x", "it must begin with http:// or https://."),
    ],
)
def test_what_is_said_of_a_wrong_value_needs_no_knowledge_of_types(name: str, value: object, says: str) -> None:
    assert read_options({name: value}, "x").problems == (f"x: `{name}` is ignored: {says}",)


@pytest.mark.parametrize("name", sorted(schema()["properties"]))
def test_every_setting_has_a_sentence_for_a_wrong_value(name: str) -> None:
    wrong: object = 12345 if schema()["properties"][name].get("type") in ("string", "boolean") else {"secret": "12345"}
    (problem,) = read_options({name: wrong}, "x").problems
    assert problem.startswith(f"x: `{name}` is ignored: it must be ")
    # The token must not get into the log.
    assert "12345" not in problem


@pytest.mark.parametrize(
    ("name", "meant"), [("modle", "model"), ("debounce_ms", "debounceMs"), ("remote_url", "remoteUrl"), ("dlsp.model", "model")]
)
def test_the_nearest_name_is_offered(name: str, meant: str) -> None:
    assert read_options({name: "x"}, "x").problems == (f"x: there is no setting `{name}`; did you mean `{meant}`?",)
    assert read_options({"colour": "x"}, "x").problems == ("x: there is no setting `colour`.",)


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (None, {}),
        ({}, {}),
        ({"dlsp": {"maxLines": 5}}, {"max_lines": 5}),
        ({"maxLines": None}, {}),
        ({"minConfidence": 0}, {"min_confidence": 0.0}),
        ({"languages": {"markdown": True}}, {"languages": {"markdown": True}}),
        ({"exclude": ["*.sql"]}, {"exclude": ("*.sql",)}),
    ],
)
def test_shapes_that_clients_send(raw: object, values: dict) -> None:
    options = read_options(raw, "x")
    assert options.values == values
    assert not options.problems


def test_what_is_not_an_object_is_named() -> None:
    assert read_options([1], "configuration").problems == ("configuration: settings must be an object, not list.",)


def test_the_last_word_counts_but_lists_and_maps_add_up() -> None:
    layers = [
        read_options({"maxLines": 2, "debounceMs": 7, "exclude": ["a"], "languages": {"c": False}}, "file"),
        read_options({"maxLines": 9, "exclude": ["a", "b"], "languages": {"c": True, "go": False}}, "client"),
    ]
    settings = resolve(layers)
    assert (settings.max_lines, settings.debounce_ms, settings.exclude) == (9, 7, ("a", "b"))
    assert settings.languages == {"c": True, "go": False}


@pytest.mark.parametrize(
    ("languages", "language", "offered"),
    [
        ({}, "python", True),
        ({}, "markdown", False),
        ({}, "plaintext", False),
        ({"markdown": True}, "markdown", True),
        ({"*": False}, "python", False),
        ({"*": False, "python": True}, "python", True),
        ({"*": True}, "plaintext", True),
    ],
)
def test_languages(languages: dict[str, bool], language: str, offered: bool) -> None:
    assert Settings(languages=languages).offers(language) is offered


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert read_file(path) == read_options(None, "")
    path.write_text('maxLines = 4\nmodel = ""\n')
    options = read_file(path)
    assert options.values == {"max_lines": 4}
    assert options.problems[0].startswith("config.toml: `model` is ignored")
    path.write_text("maxLines = \n")
    assert "config.toml: the file is ignored" in read_file(path).problems[0]
    path.write_bytes(b"\xff\xfe")
    assert "config.toml: the file is ignored" in read_file(path).problems[0]


def test_an_engine_is_made_from_the_settings_and_backends_are_told_apart() -> None:
    settings = resolve([read_options({"device": "cuda:1", "threads": 2, "idleExitSeconds": 5}, "x")])
    assert settings.engine() == EngineConfig(device="cuda:1", threads=2, idle_exit_seconds=5)
    assert settings.backend_key() != Settings().backend_key()
    assert Settings(debounce_ms=1).backend_key() == Settings().backend_key()
    assert (
        Settings(backend="remote", remote_url="http://a").backend_key() != Settings(backend="remote", remote_url="http://b").backend_key()
    )
    assert Settings(backend="remote", threads=3).backend_key() == Settings(backend="remote").backend_key()


@pytest.mark.parametrize("name", sorted(generated()))
def test_generated_files_are_up_to_date(name: str) -> None:
    path = ROOT / name
    assert path.is_file(), f"{name} is missing: run `make settings`"
    assert path.read_text(encoding="utf-8") == generated()[name], f"{name} is out of date: run `make settings`"


def test_every_setting_is_described_and_has_its_default_in_the_schema() -> None:
    properties = schema()["properties"]
    assert set(properties) >= {"enabled", "model", "deadlineMs", "remoteToken", "idleExitSeconds"}
    for name, facts in properties.items():
        assert facts["description"].endswith("."), name
        assert read_options({name: facts["default"]}, "x").problems == (), name


def test_writing_again_writes_nothing(tmp_path: Path) -> None:
    assert {path.relative_to(tmp_path).as_posix() for path in write_generated(tmp_path)} == set(generated())
    assert write_generated(tmp_path) == []
    assert json.loads((tmp_path / "dlsp/settings.schema.json").read_text())["additionalProperties"] is False


def test_choices_stand_in_the_order_they_are_declared_in() -> None:
    properties = schema()["properties"]
    assert properties["eagerness"]["enum"] == ["low", "medium", "high"]
    assert properties["context"]["items"]["enum"][0] == "openFiles"
    page = generated()["docs/settings.md"]
    assert "| `logLevel` | `debug`, `info`, `warning`, `error` |" in page
    assert "| `context` | list of `openFiles`, `recentEdits`," in page


def test_the_block_for_vs_code() -> None:
    block = json.loads(generated()["editors/vscode/settings.generated.json"])
    properties = block["properties"]
    assert list(properties) == [f"dlsp.{name}" for name in schema()["properties"]]
    assert [facts["order"] for facts in properties.values()] == list(range(len(properties)))
    for name, facts in properties.items():
        assert "type" in facts, name
        assert "default" in facts, name
        assert facts["markdownDescription"].endswith("."), name
    # A folder that somebody else wrote must not send the user's text anywhere, nor let secrets in.
    for name in ("backend", "remoteUrl", "remoteToken", "excludeSecrets"):
        assert properties[f"dlsp.{name}"]["scope"] == "machine"


def test_the_annotations_for_neovim() -> None:
    lines = generated()["editors/nvim/lua/dlsp/settings.lua"].splitlines()
    assert lines[0] == "---@meta"
    fields = [line for line in lines if line.startswith("---@field ")]
    assert [line.split()[1] for line in fields] == [f"{name}?" for name in schema()["properties"]]
    types = {line.split()[1].rstrip("?"): line.split(" ", 3)[2] for line in fields}
    assert types["enabled"] == "boolean"
    assert types["languages"] == "table<string,"
    assert types["exclude"] == "string[]"
    assert types["eagerness"] == '"low"|"medium"|"high"'
    assert types["context"].startswith('("openFiles"|')
    assert types["context"].endswith(")[]")


def test_what_was_set_by_its_names_on_the_wire() -> None:
    options = read_options({"maxLines": 2, "exclude": ["a"], "nonsense": 1}, "x")
    assert options.sent() == {"maxLines": 2, "exclude": ["a"]}
