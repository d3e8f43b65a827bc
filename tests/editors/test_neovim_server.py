"""What stands around the text in real Neovims, old and new: which buffers get a server, how its end is told, its log and its doctor. The
answers come from a script."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neovim import Editor
from neovim_scripted import Start, script, shown

pytestmark = pytest.mark.editor

# A server that is found and that connects by itself, whatever `cmd` says.
CONNECTS = "require('dlsp.server').command = function() return _G.scripted end"
CLIENT = "local c = require('dlsp.lsp').client(vim.api.nvim_get_current_buf()) return c and c.id"
UNNAMED = "this buffer has no file yet; save it first"


def free(editor: Editor) -> bool:
    """Nobody has to press Enter to get on."""
    return not editor.nvim.api.get_mode()["blocking"]


def launcher(tmp_path: Path) -> str:
    """A `cmd` of several words. What it runs says its own words after a while."""
    path = tmp_path / "launch"
    path.write_text('sleep 0.5\necho ran "$@"\n')
    return f"'/bin/sh', '{path}', 'dlsp'"


def test_a_buffer_that_gets_its_name_late_is_attached_then(start: Start) -> None:
    editor = start()
    editor.type(":enew<CR>:set ft=python<CR>ix = 2<Esc>")
    editor.type(":Dlsp infill<CR>")
    editor.until(lambda: UNNAMED in editor.messages(), "a sentence", 10)
    assert editor.lua(CLIENT) is None
    editor.type(":w other.py<CR>")
    editor.until(lambda: editor.lua(CLIENT), "client", 10)
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    assert editor.lua("return #vim.lsp.get_clients()") == 1
    assert not editor.errors()


def test_a_buffer_without_a_file_gets_nothing(start: Start) -> None:
    editor = start()
    editor.type(":enew<CR>:set ft=python buftype=nofile<CR>:file other.py<CR>")
    editor.type(":Dlsp restart<CR>")
    editor.until(lambda: editor.lua("return require('dlsp.lsp').client() ~= nil"), "client", 10)
    assert editor.lua(CLIENT) is None


def test_a_restart_attaches_the_file_that_one_is_at(start: Start) -> None:
    editor = start()
    first = editor.lua(CLIENT)
    editor.type(":e other.py<CR>")
    editor.until(lambda: editor.lua(CLIENT), "client", 10)
    editor.lua("vim.lsp.buf_detach_client(0, ...)", first)
    assert editor.lua(CLIENT) is None
    editor.type(":Dlsp restart<CR>")
    editor.until(lambda: editor.lua(CLIENT) not in (None, first), "another client", 10)
    assert editor.lua("return #vim.lsp.get_clients()") == 1


def test_a_server_that_dies_takes_no_key_of_who_is_typing(start: Start) -> None:
    editor = start()
    first = editor.lua(CLIENT)
    editor.type("Goa")
    editor.lua("_G.dispatch.on_exit(137, 9)")
    editor.type("bcdef", 0.1)
    editor.until(lambda: editor.lines()[1] == "abcdef", "all that was typed", 10)
    editor.until(lambda: "the server ended (signal 9)" in editor.messages(), "a sentence", 10)
    editor.until(lambda: editor.lua(CLIENT) not in (None, first), "another client", 10)
    assert "quit with exit code" not in editor.messages()
    assert free(editor)


def test_a_server_that_is_not_started_again_says_how_it_ended(start: Start) -> None:
    editor = start("{ restart = false }")
    editor.lua("_G.dispatch.on_exit(3, 0)")
    editor.until(lambda: "the server ended (exit code 3). `:Dlsp restart`" in editor.messages(), "a sentence", 10)
    assert free(editor)


def test_a_server_that_ends_at_once_is_told(start: Start) -> None:
    editor = start()
    editor.lua("require('dlsp.server').command = function() return { '/bin/sh', '-c', 'exit 7' } end")
    editor.type(":Dlsp restart<CR>")
    editor.until(lambda: "the server ended at once (exit code 7)" in editor.messages(), "a sentence", 10)
    assert free(editor)


def test_the_doctor_looks_in_a_window_that_is_there_at_once(start: Start, tmp_path: Path) -> None:
    editor = start(f"{{ cmd = {{ {launcher(tmp_path)}, 'serve', '--stdio' }} }}", first=CONNECTS)
    editor.type(":Dlsp doctor<CR>")
    editor.until(lambda: editor.buffer() == "the doctor is looking …\n", "the doctor's window", 10)
    editor.type("ix")
    assert editor.buffer() == "the doctor is looking …\n"
    editor.type("<Esc><C-w>pGo")
    report = "return vim.fn.getbufline('dlsp doctor', 1)[1]"
    keys = 0
    while not editor.lua(report).startswith("ran"):
        editor.type("a", 0.05)
        keys += 1
        assert keys < 200
    # With the words of the launcher, and without those of the server.
    assert re.match(r"ran dlsp doctor --root \S+/project --file \S+/shapes.py$", editor.lua(report))
    assert editor.lines() == ["x = 1", "a" * keys]
    assert editor.mode() == "i"
    editor.type("<Esc><C-w>pq")
    editor.until(lambda: editor.lua("return #vim.api.nvim_list_wins()") == 1, "one window", 10)


@pytest.mark.parametrize("last", [", 'serve'", ""])
def test_health_knows_a_launcher(start: Start, tmp_path: Path, last: str) -> None:
    editor = start(f"{{ cmd = {{ {launcher(tmp_path)}{last} }} }}", first=CONNECTS)
    editor.type(":checkhealth dlsp<CR>")
    editor.until(lambda: "accept_word: <M-w>" in editor.buffer(), "the health check", 20)
    report = editor.buffer()
    assert ("ran dlsp --version" in report) == bool(last)
    assert ("The doctor did not answer" in report) == bool(last)
    assert ("`cmd` has no word `serve`" in report) != bool(last)
    editor.type(":q<CR>:Dlsp doctor<CR>")
    if last:
        editor.until(lambda: "doctor --root" in editor.buffer(), "the doctor's report", 10)
    else:
        editor.until(lambda: "does not say how to run the doctor" in editor.messages(), "a sentence", 10)


def test_the_log_has_a_window_and_leaves_commands_their_server(start: Start, tmp_path: Path) -> None:
    editor = start()
    log = tmp_path / "server.log"
    log.write_text("one\ntwo\n")
    editor.lua("_G.answer = _G.dispatch.server_request('window/showDocument', { uri = vim.uri_from_fname(...) })", str(log))
    editor.until(lambda: editor.buffer() == "one\ntwo\n", "the log", 10)
    assert editor.lua("return _G.answer.success")
    assert editor.lua("return #vim.api.nvim_list_wins()") == 2
    assert editor.lua("return { vim.bo.readonly, vim.bo.modifiable }") == [True, False]
    assert editor.cursor() == (2, 0)
    editor.type(":enew<CR>")
    for said in ("snooze", "toggle", "resume", "reset", "log"):
        editor.nvim.command(f"Dlsp {said}")
    said = [one["command"] for one in editor.lua("return _G.commands")]
    assert said == ["dlsp.snooze", "dlsp.toggle", "dlsp.resume", "dlsp.reset", "dlsp.logFile"]
    assert not editor.errors()


def test_the_log_is_there_when_the_server_is_not(start: Start) -> None:
    editor = start("{ restart = false }")
    editor.lua("_G.dispatch.on_exit(1, 0)")
    editor.until(lambda: editor.lua("return #vim.lsp.get_clients()") == 0, "the end of the server", 10)
    editor.type(":Dlsp log<CR>")
    editor.until(lambda: "there is no log yet" in editor.messages(), "a sentence", 10)
    log = Path(editor.lua("return vim.env.XDG_STATE_HOME")) / "dlsp" / "log" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\n")
    editor.type(":Dlsp log<CR>")
    editor.until(lambda: editor.buffer() == "one\n", "the log", 10)
    log.write_text("one\ntwo\n")
    editor.type("<C-w>p:Dlsp log<CR>")
    editor.until(lambda: editor.buffer() == "one\ntwo\n", "the newer log", 10)
    assert editor.lua("return #vim.api.nvim_list_wins()") == 2
    assert editor.lua("return { vim.bo.readonly, vim.bo.modifiable }") == [True, False]
