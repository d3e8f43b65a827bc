from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from dlsp.context.exclude import Exclusions, path_of


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.local",
        "prod.env",
        "sub/.ENV",
        "server.pem",
        "id_rsa",
        "id_ed25519.pub",
        "credentials",
        "credentials.json",
        ".ssh/config",
        ".aws/config",
        "secrets.yaml",
        ".netrc",
        "terraform.tfvars",
        "a/b/private.key",
        "my%20secrets/.env",
    ],
)
def test_secrets_are_excluded_wherever_they_are(name: str) -> None:
    assert Exclusions().excludes(f"file:///home/me/code/{name}")
    assert Exclusions(["!*", "!.env"], [Path("/home/me/code")]).excludes(f"file:///home/me/code/{name}")


@pytest.mark.parametrize("name", ["environment.py", "keyboard.py", "secretary.py", "env.py", "credentials_test.py", "a.py", "id.py"])
def test_ordinary_files_are_not(name: str) -> None:
    assert not Exclusions().excludes(f"file:///home/me/code/{name}")


def test_documents_that_are_not_files_go_by_their_name() -> None:
    assert not Exclusions().excludes("untitled:Untitled-1")
    assert Exclusions().excludes("git:/code/.env?ref=main")
    assert Exclusions().excludes("untitled:.env")


def test_the_users_patterns_are_relative_to_the_workspace() -> None:
    exclusions = Exclusions(["/build/", "*.sql", "!keep.sql"], [Path("/code")])
    assert exclusions.excludes("file:///code/build/a.py")
    assert not exclusions.excludes("file:///code/src/build/a.py")
    assert exclusions.excludes("file:///code/src/a.sql")
    assert not exclusions.excludes("file:///code/src/keep.sql")
    assert exclusions.excludes("file:///elsewhere/a.sql")


def test_a_pattern_that_makes_no_sense_is_ignored_alone() -> None:
    exclusions = Exclusions(["!", "*.sql"])
    assert exclusions.excludes("file:///a.sql")
    assert not exclusions.excludes("file:///a.py")


def test_the_ignore_file_of_a_workspace(tmp_path: Path) -> None:
    exclusions = Exclusions((), [tmp_path])
    private = (tmp_path / "private" / "a.py").as_uri()
    assert not exclusions.excludes(private)
    (tmp_path / ".dlspignore").write_text("private/\n")
    assert exclusions.excludes(private)
    assert not exclusions.excludes((tmp_path / "a.py").as_uri())
    (tmp_path / ".dlspignore").write_bytes(b"\xff\xff\xff")
    assert exclusions.excludes((tmp_path / "a.py").as_uri())


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c.py", "/a/b c.py"),
        ("file:///c%3A/x.py", "c:/x.py"),
        ("file://localhost/a.py", "/a.py"),
        ("vscode-notebook-cell:/n.ipynb#c1", "/n.ipynb"),
        ("untitled:Untitled-1", None),
    ],
)
def test_paths(uri: str, path: str | None) -> None:
    assert path_of(uri) == (PurePath(path) if path else None)


def test_gitignore_files_count_down_to_the_folder_of_the_document(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("build/\n*.local.py\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / ".gitignore").write_text("generated.py\n!kept.local.py\n")
    (tmp_path / "package" / ".dlspignore").write_text("!generated.py\n")
    exclusions = Exclusions((), [tmp_path])

    def excluded(name: str) -> bool:
        return exclusions.excludes((tmp_path / name).as_uri())

    assert excluded("build/deep/a.py")
    assert excluded("x.local.py")
    assert not excluded("a.py")
    assert not excluded("package/generated.py")  # the later file has the last word
    assert not excluded("package/kept.local.py")
    assert excluded("package/other.local.py")
