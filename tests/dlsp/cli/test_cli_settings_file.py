"""One setting changes and nothing else does: comments, order, tables, line ends, permissions and links stay."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from dlsp.cli.settings_file import edited, quoted, write_text_setting
from dlsp.settings import read_file
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'model = "Org/M"\n'),
        ('model = "nano"\n', 'model = "Org/M"\n'),
        ("model='nano' # the small one\nthreads = 2\n", 'model="Org/M" # the small one\nthreads = 2\n'),
        ('  "model" = "a # b" # c', '  "model" = "Org/M" # c'),
        ("# my settings\nthreads = 2 # cores\n", '# my settings\nthreads = 2 # cores\nmodel = "Org/M"\n'),
        ("# my settings\n", '# my settings\nmodel = "Org/M"\n'),
        ("threads = 2", 'threads = 2\nmodel = "Org/M"\n'),
        ("threads = 2\r\n\r\n[languages]\r\n", 'threads = 2\r\nmodel = "Org/M"\r\n\r\n[languages]\r\n'),
        (
            'threads = 2\n\n# by language\n[languages]\n"*" = true\n',
            'threads = 2\nmodel = "Org/M"\n\n# by language\n[languages]\n"*" = true\n',
        ),
        ("[languages]\npython = true\n", 'model = "Org/M"\n[languages]\npython = true\n'),
        ('[dlsp]\nthreads = 2\n\n[other]\nmodel = "x"\n', '[dlsp]\nthreads = 2\nmodel = "Org/M"\n\n[other]\nmodel = "x"\n'),
        ('[other]\nmodel = "x"\n[dlsp]\nmodel = "y"\n', '[other]\nmodel = "x"\n[dlsp]\nmodel = "Org/M"\n'),
        ('exclude = [\n  "a",\n]\n', 'exclude = [\n  "a",\n]\nmodel = "Org/M"\n'),
        ('#model = "x"\nmodelx = "y"\n', '#model = "x"\nmodelx = "y"\nmodel = "Org/M"\n'),
    ],
)
def test_only_this_setting_changes(tmp_path: Path, before: str, after: str) -> None:
    assert edited(before, "model", "Org/M") == after
    path = tmp_path / "dlsp" / "config.toml"
    if before:
        path.parent.mkdir()
        path.write_bytes(before.encode())
    write_text_setting(path, "model", "Org/M")
    assert path.read_bytes().decode() == after
    assert read_file(path).values["model"] == "Org/M"
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]
    write_text_setting(path, "model", "nano")
    write_text_setting(path, "model", "Org/M")
    assert path.read_bytes().decode() == after


@pytest.mark.parametrize(
    "before",
    [
        'exclude = ["""\nmodel = "nano"\n"""]\n',  # the line is part of a text
        'dlsp = {model = "nano"}\n',
        'dlsp.model = "nano"\n',
        'model = """nano"""\n',
        '"mod\\u0065l" = "nano"\n',
        "model = 3\n",
    ],
)
def test_a_form_that_cannot_be_edited_is_left_alone(tmp_path: Path, before: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(before)
    with pytest.raises(ConfigError, match='config.toml has a form .*Write model = "Org/M" into it yourself'):
        write_text_setting(path, "model", "Org/M")
    assert path.read_text() == before


@pytest.mark.parametrize(("content", "message"), [(b"model = \n", "is not valid TOML"), (b"\xff\xfe", "cannot be read")])
def test_a_broken_file_is_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        write_text_setting(path, "model", "Org/M")
    assert path.read_bytes() == content


@pytest.mark.skipif(os.name != "posix", reason="mode bits and links are POSIX")
def test_links_and_permissions_stay(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "dlsp.toml"
    real.parent.mkdir()
    real.write_text("threads = 2\n")
    real.chmod(0o640)
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    write_text_setting(link, "model", "nano")
    assert link.is_symlink()
    assert real.read_text() == 'threads = 2\nmodel = "nano"\n'
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "dlsp").write_text("a file is in the way")
    with pytest.raises(ConfigError, match=r"config\.toml cannot be (read|written)"):
        write_text_setting(tmp_path / "dlsp" / "config.toml", "model", "nano")


@pytest.mark.parametrize("value", ["nano", "C:\\models\\a", 'say "hi"', 'it\'s "so"', "tab\there", "naïve 模型", "a\\'b", ""])
def test_texts_survive_quoting(value: str) -> None:
    assert tomllib.loads(f"x = {quoted(value)}") == {"x": value}
