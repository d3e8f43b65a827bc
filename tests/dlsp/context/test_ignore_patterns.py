"""Patterns mean what they mean to git, and none of them takes long, whoever wrote it."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dlsp.context.exclude import Exclusions
from dlsp.context.ignore_patterns import Rules, is_pattern, parsed


@pytest.mark.parametrize(
    ("pattern", "path", "named"),
    [
        ("a", "x/a", True),
        ("/a", "x/a", False),
        ("a/b", "x/a/b", False),
        ("**/a/b", "x/a/b", True),
        ("a/**", "a", False),
        ("a/**", "a/b/c", True),
        ("a/**/z", "a/z", True),
        ("a/**/m/**/z", "a/b/m/c/d/z", True),
        ("a/**/m/**/z", "a/m/m/z", True),
        ("a*c*e", "abcde", True),
        ("a*c*e", "abcdef", False),
        ("*.py", "x/.py", True),
        ("a?c", "a/c", False),
        ("a[!b]c", "a/c", False),
        ("[]a]", "]", True),
        ("[a-c]x", "bx", True),
        ("[[:digit:]]", "7", True),
        ("[z-a]", "z", False),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("a  ", "a", True),
        ("a\\ ", "a ", True),
        ("\\#a", "#a", True),
        ("a\r", "a", True),
        ("a", "a\n", False),
        ("**", "x/y", True),
    ],
)
def test_what_a_pattern_names(pattern: str, path: str, named: bool) -> None:
    assert (Rules([pattern]).named(path) is not None) is named


@pytest.mark.parametrize("pattern", ["", "# comment", "/", "!", "[", "[a", "a\\", "[[:nothing:]]"])
def test_what_is_no_pattern_has_no_effect(pattern: str) -> None:
    assert parsed(pattern) is None
    assert Rules([pattern, "b"]).named("b") is not None
    assert is_pattern(pattern) is (pattern in ("", "# comment"))


def test_the_last_pattern_has_the_last_word() -> None:
    assert Rules(["*.py", "!a.py"]).excluding("a.py") is None
    assert Rules(["!a.py", "*.py"]).excluding("a.py") is not None
    assert Rules(["x/", "!x/a.py"]).excluding("x/a.py") is not None
    assert Rules(["x/"]).excluding("x") is None


@pytest.mark.parametrize("pattern", ["*a" * 20 + "b", "**/a/" * 20 + "b", "a/**/" * 20 + "b", "[a-z]*" * 20 + "1", "?*" * 20 + "1"])
def test_no_pattern_takes_long(pattern: str) -> None:
    rules = Rules([pattern])
    began = time.process_time()
    assert rules.named("a" * 250) is None
    assert rules.named("a/" * 60 + "a") is None
    assert time.process_time() - began < 0.5


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not there to compare with")
def test_as_git_does_it(tmp_path: Path) -> None:
    atoms = [
        "*",
        "*/",
        "a/",
        "gen",
        "/a",
        "a/*",
        "a/**",
        "**/b",
        "x.py",
        "*.py",
        "/x.py",
        "a/x.py",
        "b/*",
        "/*",
        "**",
        "[xy].py",
        "gen/**/x.py",
        "",
    ]
    folders = ["", "a", "a/b", "gen", "gen/a", "b"]
    files = [f"{folder}/{name}".lstrip("/") for folder in folders for name in ("x.py", "y.py", "k.txt")]
    for seed in range(12):
        rng, root = random.Random(seed), tmp_path / str(seed)
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("x")
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        for folder in rng.sample([*folders, ".git/info"], 3):
            lines = [("!" if rng.random() < 0.4 else "") + rng.choice(atoms) for _ in range(rng.randint(1, 4))]
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / ("exclude" if "info" in folder else ".gitignore")).write_text("\n".join(lines) + "\n")
        asked = subprocess.run(
            ["git", "check-ignore", "--no-index", "--stdin"], cwd=root, input="\n".join(files), text=True, capture_output=True, check=False
        )
        exclusions = Exclusions((), (root,), secrets=False)
        assert {name for name in files if exclusions.excludes((root / name).as_uri())} == set(asked.stdout.split()), f"seed {seed}"
