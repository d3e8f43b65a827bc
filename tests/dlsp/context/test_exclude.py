from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from dlsp.context.exclude import Exclusions, holds_private_key, path_of


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
    exclusions = Exclusions((), [tmp_path], lasts=0.0)
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


@pytest.mark.parametrize(
    "name",
    [
        ".env-prod", ".envrc", ".dev.vars", "ca.crt", "a.cert", "a.cer", "a.der", "key.ppk", "app.db", "app.sqlite3", "dump.sql.bak",
        "kubeconfig", ".s3cfg", ".boto", ".vault-token", ".vault/a.yml",
    ],
)  # fmt: skip
def test_more_names_of_secrets(name: str) -> None:
    assert Exclusions().excludes(f"file:///home/me/code/{name}")
    assert not Exclusions(secrets=False).excludes(f"file:///home/me/code/{name}")


def test_ignore_files_above_the_workspace_count_up_to_the_repository(tmp_path: Path) -> None:
    workspace = tmp_path / "repository" / "packages" / "one"
    workspace.mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("a.py\n")  # outside of the repository: says nothing
    (tmp_path / "repository" / ".git" / "info").mkdir(parents=True)
    (tmp_path / "repository" / ".git" / "info" / "exclude").write_text("mine.py\n")
    (tmp_path / "repository" / ".gitignore").write_text("/packages/*/gen/\nb.py\n")
    (tmp_path / "repository" / "packages" / ".gitignore").write_text("!b.py\n")
    exclusions = Exclusions((), [workspace])

    def excluded(name: str) -> bool:
        return exclusions.excludes((workspace / name).as_uri())

    assert not excluded("a.py")
    assert excluded("gen/a.py")
    assert not excluded("b.py")
    assert excluded("deep/mine.py")
    assert exclusions.excludes_folder(workspace / "gen")
    assert not exclusions.excludes_folder(workspace / "deep")


def test_a_link_is_judged_by_both_names(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=1\n")
    (tmp_path / "settings.py").symlink_to(tmp_path / ".env")
    exclusions = Exclusions((), [tmp_path])
    assert exclusions.excludes((tmp_path / "settings.py").as_uri())
    assert ".env" in exclusions.explain((tmp_path / "settings.py").as_uri())


def test_a_workspace_named_through_a_link_has_its_ignore_files(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / ".gitignore").write_text("a.py\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Exclusions((), [tmp_path / "link"]).excludes((tmp_path / "link" / "a.py").as_uri())
    assert Exclusions((), [tmp_path / "link"]).excludes((tmp_path / "real" / "a.py").as_uri())


def test_a_verdict_lasts_a_while_unless_it_is_forgotten(tmp_path: Path) -> None:
    exclusions = Exclusions((), [tmp_path])
    uri = (tmp_path / "a.py").as_uri()
    assert not exclusions.excludes(uri)
    (tmp_path / ".gitignore").write_text("a.py\n")
    assert not exclusions.excludes(uri)
    exclusions.forget()
    assert exclusions.excludes(uri)


def test_the_verdict_is_explained(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("# generated\nbuild/\n")
    exclusions = Exclusions(["*.sql"], [tmp_path])
    assert exclusions.explain("file:///code/.env") == "It is excluded by the pattern .env* for secrets."
    assert "*.sql of the setting" in exclusions.explain((tmp_path / "a.sql").as_uri())
    assert exclusions.explain((tmp_path / "build" / "a.py").as_uri()) == f"It is excluded by 'build/' in {tmp_path / '.gitignore'}."
    assert exclusions.explain((tmp_path / "a.py").as_uri()).startswith("It is not excluded")
    assert exclusions.ignore_files() == (tmp_path / ".gitignore",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-----BEGIN PRIVATE KEY-----", True),
        ("key = '''-----BEGIN OPENSSH PRIVATE KEY-----\n", True),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----", True),
        ("-----BEGIN PUBLIC KEY-----", False),
        ("BEGIN PRIVATE KEY", False),
    ],
)
def test_private_keys_are_told_by_their_first_line(text: str, found: bool) -> None:
    assert holds_private_key(["x = 1\n", text]) is found
