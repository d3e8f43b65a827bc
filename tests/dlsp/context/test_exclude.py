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
    (tmp_path / ".dlspignore").write_bytes("b.py\n".encode("utf-16"))
    assert exclusions.excludes((tmp_path / "a.py").as_uri())
    (tmp_path / ".dlspignore").write_bytes(b"\xef\xbb\xbfa.py\n# caf\xe9\n")
    assert exclusions.excludes((tmp_path / "a.py").as_uri())
    assert not exclusions.excludes((tmp_path / "b.py").as_uri())
    (tmp_path / ".dlspignore").unlink()
    (tmp_path / ".dlspignore").mkdir()
    assert not exclusions.excludes((tmp_path / "a.py").as_uri())


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c.py", "/a/b c.py"),
        ("file:///c%3A/x.py", "c:/x.py"),
        ("file://localhost/a.py", "/a.py"),
        ("vscode-notebook-cell:/n.ipynb#c1", "/n.ipynb"),
        ("untitled:Untitled-1", None),
        ("file:///code/pkg/../private/./a.py", "/code/private/a.py"),
        ("file:///code//a.py", "/code/a.py"),
        ("file:///code/caf%E9.py", "/code/caf\udce9.py"),
        ("file://[broken/a.py", None),
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


@pytest.mark.parametrize(
    "uri",
    [
        "file://[::1/x.py",
        "file:///a%00b.py",
        "file:",
        "file:///",
        "",
        ":",
        "untitled:",
        "file:///c%3A%5Ca.py",
        "http://[",
        "file:///" + "a/" * 3000,
    ],
)
def test_no_uri_is_too_strange(uri: str, tmp_path: Path) -> None:
    exclusions = Exclusions(["x"], [tmp_path])
    assert isinstance(exclusions.excludes(uri), bool)
    assert exclusions.explain(uri)


@pytest.mark.parametrize(
    "name",
    [
        "private/a.py",
        "pkg/../private/a.py",
        "pkg/%2E%2E/private/a.py",
        "%70rivate/a.py",
        "private//a.py",
        "./private/a.py",
        "PRIVATE/../private/a.py",
    ],
)
def test_however_the_uri_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("private/\n")
    for scheme in ("file://", "untitled:", "vscode-notebook-cell:", "some-other-cell:"):
        assert Exclusions((), [tmp_path]).excludes(f"{scheme}{tmp_path.as_posix()}/{name}"), scheme
    assert not Exclusions((), [tmp_path]).excludes((tmp_path / "public" / "a.py").as_uri())


def test_below_an_excluded_folder_nothing_is_let_in(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / ".gitignore").write_text("private/\n")
    (tmp_path / "private" / ".gitignore").write_text("!*\n")
    assert Exclusions((), [tmp_path]).excludes((tmp_path / "private" / "a.py").as_uri())
    (tmp_path / ".dlspignore").write_text("!private/\n")
    assert not Exclusions((), [tmp_path]).excludes((tmp_path / "private" / "a.py").as_uri())


def test_a_file_without_a_workspace_has_the_ignore_files_of_its_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("/pkg/private.py\n")
    (tmp_path / ".dlspignore").write_text("mine.py\n")
    (tmp_path / "pkg").mkdir()
    for roots in ((), [tmp_path / "elsewhere"], [tmp_path / "pkg"]):
        exclusions = Exclusions((), roots)
        assert exclusions.excludes((tmp_path / "pkg" / "private.py").as_uri())
        assert exclusions.excludes((tmp_path / "pkg" / "mine.py").as_uri())
        assert not exclusions.excludes((tmp_path / "pkg" / "a.py").as_uri())


def test_a_repository_within_the_workspace_has_its_own_list(tmp_path: Path) -> None:
    (tmp_path / "one" / ".git" / "info").mkdir(parents=True)
    (tmp_path / "one" / ".git" / "info" / "exclude").write_text("mine.py\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "one" / ".git" / "worktrees" / "tree").mkdir(parents=True)
    (tmp_path / "one" / ".git" / "worktrees" / "tree" / "commondir").write_text("../..\n")
    (tmp_path / "tree" / ".git").write_text(f"gitdir: {tmp_path}/one/.git/worktrees/tree\n")
    exclusions = Exclusions((), [tmp_path])
    assert exclusions.excludes((tmp_path / "one" / "mine.py").as_uri())
    assert exclusions.excludes((tmp_path / "tree" / "deep" / "mine.py").as_uri())
    assert not exclusions.excludes((tmp_path / "mine.py").as_uri())


def test_of_nested_workspace_folders_the_outer_one_counts(tmp_path: Path) -> None:
    (tmp_path / ".dlspignore").write_text("inner/a.py\n")
    for roots in ([tmp_path, tmp_path / "inner"], [tmp_path / "inner", tmp_path]):
        assert Exclusions((), roots).excludes((tmp_path / "inner" / "a.py").as_uri())


def test_a_workspace_in_a_folder_with_a_secrets_name() -> None:
    exclusions = Exclusions((), [Path("/home/me/secrets/project")])
    assert not exclusions.excludes("file:///home/me/secrets/project/a.py")
    assert exclusions.excludes("file:///home/me/secrets/project/secrets/a.py")
    assert exclusions.excludes("file:///home/me/secrets/a.py")
    assert Exclusions((), [Path("/home/me/.ssh")]).excludes("file:///home/me/.ssh/config")


@pytest.mark.parametrize(
    "name",
    [
        ".docker/config.json",
        "deep/.docker/config.json",
        "prod.tfvars.json",
        "terraform.tfstate.backup",
        "AuthKey.p8",
        "x.keytab",
        "gcp_credentials.json",
    ],
)
def test_still_more_names_of_secrets(name: str) -> None:
    assert Exclusions().excludes(f"file:///home/me/code/{name}")
    assert Exclusions((), [Path("/home/me/code")]).excludes(f"file:///home/me/code/{name}")


def test_a_pattern_without_effect_is_said(caplog: pytest.LogCaptureFixture) -> None:
    Exclusions(["[z", "*.sql", "# why"])
    assert "'[z'" in caplog.text
    assert caplog.text.count("not valid") == 1
