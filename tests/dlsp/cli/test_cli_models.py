"""`dlsp models`: what is listed, and the way of a model from a hub into the settings and out again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import family_checkpoints
from dlsp.cli.main import main
from dlsp.doctor import Check, Plan, examine
from dlsp.settings import read_file, user_file
from engine.errors import HostError
from engine.models import hub, store
from engine.models.transfer import Source
from fake_hub import Hub, files_of, running_hub
from lsp_stdio import have_weights

CODA = "Org/Coda"


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub() as running:
        running.add(CODA, files_of(family_checkpoints.write("coda", tmp_path_factory.mktemp("coda"))))
        running.add("Org/Other", files_of(family_checkpoints.write("dreamon", tmp_path_factory.mktemp("dreamon"))))
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Hub) -> Path:
    """A user who has nothing yet, and for whom the hub is the one on this machine."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / name))
    real = hub.pull
    source = Source(endpoint=fake.url, waits=(), cache=tmp_path / "cache")
    monkeypatch.setattr(hub, "pull", lambda name, how: real(name, replace(how, source=source)))
    return tmp_path


def run(*args: str, command: str = "models") -> int:
    with pytest.raises(SystemExit) as ended:
        main([command, *args])
    return int(ended.value.code or 0)


def said(capsys: pytest.CaptureFixture[str], *args: str, status: int = 0) -> str:
    """What a command that must end with `status` prints, on both streams."""
    capsys.readouterr()
    got = run(*args)
    streams = capsys.readouterr()
    assert got == status, streams
    return streams.out + streams.err


def doctor(name: str, plan: Plan | None = None) -> Check:
    return next(check for check in examine(plan or Plan()) if check.name == name)


def test_the_list_of_a_new_user(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys).splitlines()
    assert lines[0].split() == ["MODEL", "FAMILY", "LICENCE", "ON", "DISK", "FLOAT32", "BFLOAT16", "INT8", "INT4"]
    assert lines[1].startswith("* nano")
    families = "\n".join(lines[lines.index(next(line for line in lines if line.startswith("  FAMILY"))) :])
    for family in ("dreamon", "llada", "open-dcoder", "coda", "stable-diffcoder"):
        assert f"  {family} " in families
    assert "non-commercial" in next(line for line in lines if line.startswith("  coda:"))
    assert "Dream-org/DreamOn-v0-7B" in next(line for line in lines if line.startswith("  dreamon "))
    assert "16.1 GB" in next(line for line in lines if line.startswith("  dreamon "))
    assert lines[1].count("not needed") == 2
    assert max(map(len, lines)) <= 140

    facts = json.loads(said(capsys, "--json"))
    assert facts["in_use"] == "nano"
    assert facts["unfinished"] == []
    (nano,) = facts["models"]
    assert nano["in_use"]
    if have_weights():
        assert nano["memory"]["float32"] == 2 * nano["memory"]["bfloat16"]
        assert nano["memory"]["bfloat16"] < nano["size"]
    dreamon = next(family for family in facts["families"] if family["name"] == "dreamon")
    assert dreamon["example"]["id"] == "Dream-org/DreamOn-v0-7B"


def test_the_memory_of_the_built_in_model_is_what_the_engine_computes() -> None:
    import torch

    from dlsp.cli.models import BUILT_IN, BUILT_IN_WORK
    from engine.models import checkpoint
    from engine.runtime.loading import footprint

    nano = checkpoint.read(checkpoint.find(BUILT_IN))
    for precision, work in BUILT_IN_WORK.items():
        assert work == pytest.approx(footprint(nano, precision, torch.bfloat16).workspace, rel=0.02)


def test_what_is_built_in_is_neither_pulled_nor_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nano is built in: there is nothing to pull. `dlsp models use nano`" in said(capsys, "pull", "nano", status=2)
    assert "nano is built in: it cannot be removed." in said(capsys, "remove", "Nano", status=2)


def test_the_list_imports_nothing_slow() -> None:
    code = """
import sys
from dlsp.cli.main import main
try:
    main(["models"])
finally:
    print("slow:", *(sys.modules.keys() & {"torch", "huggingface_hub", "transformers", "tokenizers"}))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "slow:"


def test_from_the_hub_into_the_settings_and_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text("# mine\nthreads = 1\n\n[languages]\nmarkdown = true # yes\n")

    assert "no model Org/Nothing" in said(capsys, "pull", "Org/Nothing", status=2)
    assert "is not the name of a model" in said(capsys, "pull", "nanoo", status=2)
    assert "`dlsp models pull Org/Coda`" in said(capsys, "use", CODA, status=2)

    text = said(capsys, "pull", CODA)
    assert "family coda" in text
    assert text.count("Please note: ") == 1
    assert "downloading 100 %" in text
    assert "checking" not in text
    assert "It needs " in text
    assert "`dlsp models use Org/Coda`" in text
    (model,) = store.installed()
    assert str(model.folder) in text
    assert model.manifest.needed.keys() == model.manifest.memory.keys()
    assert all(size > model.manifest.memory[name] for name, size in model.manifest.needed.items())
    assert store.size_text(model.manifest.needed["int4"]) in said(capsys)
    assert f"  {model.name}" in said(capsys)

    again = said(capsys, "pull", CODA)
    assert "is here already" in again
    assert "checking 100 %" in again
    assert "Please note" not in again

    text = said(capsys, "use", "org/coda")
    assert f"Org/Coda is in use from now on ({user_file()})" in text
    assert "language server starts again" in text
    assert "Please note" not in text
    assert user_file().read_text() == '# mine\nthreads = 1\nmodel = "Org/Coda"\n\n[languages]\nmarkdown = true # yes\n'
    assert "in use already" in said(capsys, "use", CODA)
    lines = said(capsys).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("* ") and "@" in line] == [model.name]
    assert f"\n  {'nano'} " in "\n".join(lines)
    assert "`dlsp models use" not in said(capsys, "pull", CODA)

    check = doctor("model")
    assert check.state == "pass"
    assert model.name in check.detail
    assert "non-commercial" in check.detail
    assert doctor("pulled models").detail.startswith("1, ")

    source = home / "a.py"
    source.write_text("def f(x):\n    return \n")
    capsys.readouterr()
    assert run(f"{source}:2:12", "--model", read_file(user_file()).values["model"], "--json", "--max-tokens", "4", command="infill") == 0
    assert json.loads(capsys.readouterr().out)["model"]

    assert "Org/Coda is in use. Run `dlsp models use nano`" in said(capsys, "remove", CODA, status=2)
    assert store.installed() == [model.__class__(folder=model.folder, manifest=store.installed()[0].manifest)]
    assert "nano is in use from now on" in said(capsys, "use", "nano")
    assert 'model = "nano"\n' in user_file().read_text()
    assert "are free again" in said(capsys, "remove", "org/coda")
    assert store.installed() == []
    assert "There is no model 'Org/Coda' here" in said(capsys, "remove", CODA, status=2)


def test_a_notice_that_nobody_has_seen_is_shown_once_by_use(fake: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.pull(store.parse(CODA), hub.Pull())
    assert "Please note: The weights of CoDA are for non-commercial use only" in said(capsys, "use", CODA)
    said(capsys, "use", "nano")
    assert "Please note" not in said(capsys, "use", CODA)


def test_a_folder_can_be_used_too(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = family_checkpoints.write("coda", tmp_path / "my model")
    monkeypatch.chdir(tmp_path)
    text = said(capsys, "use", "my model")
    assert f"{folder} is in use" in text
    assert text.count("Please note") == 1
    assert read_file(user_file()).values["model"] == str(folder)
    row = json.loads(said(capsys, "--json"))["models"][1]
    assert (row["name"], row["family"], row["in_use"], row["problem"]) == (str(folder), "coda", True, "")
    assert f"* {folder}  coda" in said(capsys)
    said(capsys, "use", "nano")
    assert "Please note" not in said(capsys, "use", "my model")
    assert "Please note" not in said(capsys, "pull", CODA)

    (folder / "config.json").write_text("{")
    text = said(capsys)
    assert f"* {folder}" in text
    assert "it is not a whole model (" in text
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    assert "ordinary autoregressive model" in said(capsys)


def test_the_same_damage_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "pull", CODA)
    (model,) = store.installed()
    weights = model.folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    text = said(capsys, "verify", CODA, status=1)
    assert text.count("FAIL") == 1
    assert text.count("fix: ") == 1
    assert "dlsp models verify" not in text
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    text = said(capsys, "verify", CODA, status=1)
    assert text.count("FAIL") == 1
    assert f"fix: `dlsp models pull {model.name}` mends it." in text
    text = said(capsys, "pull", CODA)
    assert " to download" in text
    assert "here already" not in text
    assert "checking 100 %" in text
    assert "downloading 100 %" in text
    assert text.index("checking 100 %") < text.index("downloading")


def test_a_revision_that_was_named_stays_named(fake: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "pull", CODA)
    said(capsys, "pull", "Org/Other")
    (other, coda) = store.installed()
    said(capsys, "use", coda.name)
    assert read_file(user_file()).values["model"] == coda.name
    repository = fake.repositories[CODA]
    newer = repository.commit(repository.commits[coda.manifest.commit] | {"README.md": b"newer"}, "newer")
    said(capsys, "pull", f"{CODA}@newer")
    assert [row["name"] for row in json.loads(said(capsys, "--json"))["models"] if row["in_use"]] == [coda.name]
    said(capsys, "remove", f"{CODA}@{newer[:12]}")
    assert {model.name for model in store.installed()} == {other.name, coda.name}


def test_what_would_not_load_is_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "pull", CODA)
    (model,) = store.installed()
    weights = model.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    text = said(capsys, "use", CODA, status=2)
    assert "model.safetensors is truncated" in text
    assert f"`dlsp models pull {model.name}` mends it." in text
    assert not user_file().exists()

    assert f"{model.name} is damaged (model.safetensors): `dlsp models pull {model.name}` mends it." in said(capsys)
    check = doctor("model", Plan(model=CODA))
    assert (check.state, check.fix) == ("fail", f"`dlsp models pull {model.name}` mends it.")
    assert "model.safetensors" in check.detail
    check = doctor("pulled models")
    assert (check.state, check.fix) == ("warn", f"dlsp models pull {model.name}")
    said(capsys, "pull", model.name)
    assert "is in use from now on" in said(capsys, "use", CODA)


def test_verify_reads_every_byte(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "pull", CODA)
    (model,) = store.installed()
    text = said(capsys, "verify")
    assert text.count("FAIL") == 0
    assert "\nOrg/Coda@" in text
    assert text.startswith("nano (")
    tokenizer = model.folder / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    text = said(capsys, "verify", CODA, status=1)
    assert "FAIL  tokenizer.json: " in text
    assert f"fix: `dlsp models pull {model.name}`" in text
    assert text.count("FAIL") == 1
    said(capsys, "pull", CODA)
    said(capsys, "verify", CODA)
    assert "There is no model 'Org/Nothing'" in said(capsys, "verify", "Org/Nothing", status=2)


def test_an_unfinished_download_is_listed_and_can_be_deleted(fake: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    fake.cut["model.safetensors"] = [20_000, 0]
    assert "the same command goes on from there" in said(capsys, "pull", CODA, status=2)
    name = f"{CODA}@{fake.repositories[CODA].refs['main'][:12]}"
    text = said(capsys)
    assert f"{name} is not complete" in text
    assert f"`dlsp models pull {name}` goes on, `dlsp models remove {name}` deletes it." in text
    assert json.loads(said(capsys, "--json"))["unfinished"][0]["id"] == CODA
    check = doctor("pulled models")
    assert check.state == "warn"
    assert f"dlsp models pull {name}" in check.fix
    assert "are free again" in said(capsys, "remove", name)
    assert "not complete" not in said(capsys)

    fake.cut["model.safetensors"] = [20_000, 0]
    said(capsys, "pull", CODA, status=2)
    assert "20.0 kB are here already" in said(capsys, "pull", name)


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: object, how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "pull", interrupted)
    assert "The same command goes on from here" in said(capsys, "pull", CODA, status=130)


def test_settings_that_name_a_model_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text('model = "Org/Gone"\n')
    text = said(capsys)
    assert "In use: Org/Gone, which is not on this machine (`dlsp models pull Org/Gone` fetches it)." in text
    assert "* nano" not in text
    check = doctor("model")
    assert check.state == "fail"
    assert "`dlsp models pull Org/Gone`" in check.fix
    user_file().write_text('model = "/no/such/folder"\n')
    assert "In use: /no/such/folder, which is not on this machine (`dlsp models use NAME` chooses another)." in said(capsys)


def test_the_real_command_asks_the_hub_of_the_environment(fake: Hub, home: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    env |= {"HF_ENDPOINT": fake.url, "HF_HOME": str(home / "hf"), "HF_TOKEN": "mine", "NO_PROXY": "127.0.0.1,localhost"}
    command = [sys.executable, "-P", "-m", "dlsp", "models", "pull", CODA]
    cwd = Path(__file__).parents[3]
    env["PYTHONPATH"] = str(cwd)
    before = len(fake.tokens)
    ended = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert store.locate(CODA)
    assert ("api", "Bearer mine") in fake.tokens[before:]
    refused = subprocess.run(command, env=env | {"HF_HUB_OFFLINE": "1"}, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("dlsp: Nothing is downloaded while HF_HUB_OFFLINE is set.")
    assert "Traceback" not in refused.stderr


def test_another_process_that_pulls(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(name: object, how: object) -> None:
        raise HostError("Another process is pulling Org/Coda at the moment.", "Wait for it, or end it.")

    monkeypatch.setattr(hub, "pull", busy)
    assert said(capsys, "pull", CODA, status=2) == "dlsp: Another process is pulling Org/Coda at the moment. Wait for it, or end it.\n"
