"""The house's structure, read off the source: floors, doors, ceilings, and words that may stand in one place only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("dlsp", "engine")
HARD_CEILING = 500
FOREIGN_FACTS = ("engine/models/families.py", "engine/models/shapes.py")

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes()) for path in MODULES}


def nodes(kind: type[ast.AST], below: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node of a kind, with its file, in the modules below a folder."""
    for name, tree in TREES.items():
        if name.startswith(below):
            yield from ((name, node) for node in ast.walk(tree) if isinstance(node, kind))


def imports(name: str) -> set[str]:
    """The full names of all modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def published_files() -> list[Path]:
    """What a clone would contain."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    if listed:
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    skipped = {".git", ".venv", ".cache", "__pycache__", "node_modules"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)]


def test_import_contracts_hold() -> None:
    script = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run([script, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_is_something_to_hold_to() -> None:
    """The tests below would pass on an empty house."""
    assert len(TREES) > 50
    for name in ("dlsp/server.py", "dlsp/session.py", "engine/diffusion/denoise.py", "engine/models/families.py", "engine/serve/host.py"):
        assert name in TREES


@pytest.mark.parametrize("path", [p.relative_to(ROOT).as_posix() for p in MODULES])
def test_module_is_below_the_ceiling_and_says_what_it_is(path: str) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= HARD_CEILING, f"{lines} lines"
    if lines:
        assert ast.get_docstring(TREES[path]), "a module docstring is missing"


def test_other_sources_are_below_the_ceiling() -> None:
    for path in published_files():
        if path.suffix in (".py", ".lua", ".ts", ".sh"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= HARD_CEILING, f"{path}: {lines} lines"


def test_no_drawer_for_everything() -> None:
    for path in MODULES:
        assert path.stem not in ("utils", "util", "helpers", "helper", "common", "misc"), path


def test_at_most_three_folder_levels() -> None:
    for path in MODULES:
        assert len(path.relative_to(ROOT).parts) - 1 <= 3, path


def test_no_bare_except() -> None:
    assert [f"{name}:{node.lineno}" for name, node in nodes(ast.ExceptHandler) if node.type is None] == []


def test_only_families_and_shapes_read_foreign_configs() -> None:
    """Keys of other projects' config.json files; ModelConfig has its own names, which must not be read from a raw dict elsewhere."""
    foreign = {
        "model_type",
        "architectures",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "max_position_embeddings",
        "mask_token_id",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "n_layers",
        "n_heads",
        "d_model",
    }
    found = [
        f"{name}:{node.lineno} {node.value}"
        for name, node in nodes(ast.Constant, "engine/")
        if isinstance(node.value, str) and node.value in foreign and name not in FOREIGN_FACTS
    ]
    assert found == []


def test_no_literal_token_id_outside_families() -> None:
    """Mask, end and padding ids of published families, and any number in an assignment that is called an id."""
    known = {
        126336,
        126081,
        126080,
        151666,
        151667,
        151669,
        151643,
        151645,
        151646,
        151659,
        151660,
        151661,
        156895,
        156892,
        8191,
        8190,
        8189,
    }
    found = [
        f"{name}:{node.lineno} {node.value}"
        for name, node in nodes(ast.Constant)
        if type(node.value) is int and node.value in known and name not in FOREIGN_FACTS
    ]
    for name, node in nodes(ast.keyword):
        if name not in FOREIGN_FACTS and re.fullmatch(r"(mask|end|pad|eos|bos|document)(_token)?_id", node.arg or ""):
            value = node.value
            if isinstance(value, ast.Constant) and type(value.value) is int:
                found.append(f"{name}:{value.lineno} {node.arg}={value.value}")
    assert found == []


def test_only_features_edits_and_server_know_lsp_types() -> None:
    """The contract in pyproject.toml lists modules; this one also catches a module that nobody listed."""
    allowed = ("dlsp/features/", "dlsp/edits.py", "dlsp/server.py")
    for name in TREES:
        if not name.startswith(allowed):
            assert not {module.partition(".")[0] for module in imports(name)} & {"lsprotocol", "pygls"}, name


def test_denoising_knows_neither_network_nor_editor() -> None:
    outside = {"asyncio", "socket", "http", "httpx", "starlette", "uvicorn", "pygls", "lsprotocol", "dlsp", "os", "subprocess", "threading"}
    for name in TREES:
        if name.startswith("engine/diffusion/"):
            assert not {module.partition(".")[0] for module in imports(name)} & outside, name
            assert not {m for m in imports(name) if m.startswith("engine.") and m.split(".")[1] in ("models", "runtime", "serve", "api")}, (
                name
            )


def test_lsp_handlers_are_async() -> None:
    """A thread cannot be cancelled, and a plain function blocks everybody."""
    handlers = {"dlsp/features/": 0, "dlsp/server.py": 0}
    for place in handlers:
        for name, node in [*nodes(ast.FunctionDef, place), *nodes(ast.AsyncFunctionDef, place)]:
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            assert not any(re.search(r"\.thread\b", mark) for mark in marks), f"{name}:{node.lineno}"
            if any(re.search(r"\.(feature|command)\(", mark) for mark in marks):
                handlers[place] += 1
                assert isinstance(node, ast.AsyncFunctionDef), f"{name}:{node.lineno} {node.name} is not async"
    assert handlers["dlsp/features/"] >= 5, "handlers are registered in another way now, so this test looks in the wrong place"


def test_environment_is_read_by_settings_and_the_command_line_only() -> None:
    """`backends/launch.py` hands the environment on to the process it starts and reads no option from it."""
    allowed = ("dlsp/settings.py", "dlsp/cli/", "dlsp/backends/launch.py")
    found = [
        f"{name}:{node.lineno}"
        for name, node in nodes(ast.Attribute)
        if ast.unparse(node) in ("os.environ", "os.getenv", "os.environb") and not name.startswith(allowed)
    ]
    assert found == []


def test_special_tokens_are_off_wherever_text_is_encoded() -> None:
    for name, node in nodes(ast.Call, "engine/"):
        for keyword in node.keywords:
            if keyword.arg == "add_special_tokens":
                assert isinstance(keyword.value, ast.Constant), name
                assert keyword.value.value is False, f"{name}:{node.lineno}"


def test_no_print_reaches_the_protocol() -> None:
    """stdout is the wire of the language server and of the host; only commands print."""
    allowed = ("dlsp/cli/", "engine/bench/", "engine/train/")
    found = []
    for name, node in nodes(ast.Call):
        if ast.unparse(node.func) == "print" and not name.startswith(allowed):
            target = [ast.unparse(k.value) for k in node.keywords if k.arg == "file"]
            if target != ["sys.stderr"]:
                found.append(f"{name}:{node.lineno}")
    # The host says its address in one line on stdout; that is its contract with whoever started it.
    assert [place for place in found if not place.startswith("engine/serve/")] == []


def test_generated_files_agree_with_the_settings() -> None:
    from dlsp.settings import generated

    files = generated()
    assert files
    for name, content in files.items():
        path = ROOT / name
        assert path.exists(), f"{name} is missing: run `make settings`"
        assert path.read_text(encoding="utf-8") == content, f"{name} has drifted: run `make settings`"


def test_every_setting_is_used() -> None:
    from dlsp.settings import Settings

    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    for field in Settings.__struct_fields__:
        assert len(re.findall(rf"\.{field}\b", source)) >= 1, f"nothing reads the setting {field}"


def test_no_registry_host_in_any_file() -> None:
    """Where packages come from is the business of whoever installs; nothing here may name a registry or a mirror."""
    hosts = [
        ("pypi", "org"),
        ("python" + "hosted", "org"),  # in two pieces: a search for the name must not find this line
        ("download.pytorch", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb.debian", "org"),
        ("snapshot.debian", "org"),
        ("archive.ubuntu", "com"),
        ("proxy.golang", "org"),
        ("crates", "io"),
    ]
    pattern = re.compile("|".join(re.escape(".".join(host)) for host in hosts) + "|find-" + r"links|extra-" + "index", re.IGNORECASE)
    for path in published_files():
        if path.suffix in (".safetensors", ".png", ".gif", ".vsix") or path == Path(__file__).resolve():
            continue
        match = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
        assert match is None, f"{path}: {match and match.group()}"


def test_only_backends_speak_http() -> None:
    """Nothing leaves the machine but through a backend that is configured by name."""
    clients = {"httpx", "requests", "urllib.request", "aiohttp", "http.client", "urllib3"}
    allowed = ("dlsp/backends/", "dlsp/cli/", "dlsp/doctor.py", "engine/bench/", "engine/train/", "engine/serve/")
    for name in TREES:
        if not name.startswith(allowed):
            assert not imports(name) & clients, name


def test_default_backend_is_this_machine() -> None:
    from dlsp.settings import Settings

    assert Settings().backend == "local"
    assert Settings().remote_url == ""


@pytest.mark.parametrize(
    "name", ["LICENSE", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "constraints.txt", ".ci/run"]
)
def test_top_level_is_complete(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_repository_stays_small() -> None:
    weights = sum(path.stat().st_size for path in published_files() if path.is_relative_to(ROOT / "engine" / "weights"))
    assert weights <= 64_000_000
    for path in published_files():
        assert path.stat().st_size <= 16_000_000, path
