"""Keys, menus, options and commands of the plugin in real Neovims, old and new, with answers from a script; and how it gets on with
Neovim's own inline completion."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from neovim import PLUGIN, Editor
from neovim_scripted import NEW, Start, asked, marks, script, shown

pytestmark = pytest.mark.editor


def test_keys_that_are_typed_ahead_keep_their_order(start: Start) -> None:
    editor = start()
    script(editor, "foobar(1)")
    editor.type("Go")
    shown(editor, "foobar(1)")
    editor.nvim.input("fo<M-l> # x<Esc>")
    editor.until(lambda: editor.mode() == "n", "normal mode", 10)
    assert editor.lines()[1] == "foobar(1) # x"


def test_keys_without_a_suggestion_do_nothing_and_do_not_leave_insert_mode(start: Start) -> None:
    editor = start()
    editor.type("Go<M-l><M-w><M-e>a")
    editor.until(lambda: editor.lines()[1] == "a", "a typed letter", 10)
    assert editor.mode() == "i"


def test_tab_is_left_alone_unless_it_is_named(start: Start) -> None:
    editor = start()
    editor.lua("vim.bo.expandtab, vim.bo.shiftwidth, vim.bo.softtabstop = true, 4, 4")
    assert editor.nvim.funcs.maparg("<Tab>", "i").find("dlsp") < 0
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    editor.type("<Tab>")
    editor.until(lambda: editor.lines()[1] == "    ", "an indented line", 10)


def test_tab_can_be_shared_with_what_had_it_before(start: Start) -> None:
    jump = "vim.keymap.set('i', '<Tab>', function() return _G.jumps and '<C-g>ujumped' or '<Tab>' end, { expr = true })"
    editor = start("{ keys = { accept = '<Tab>' } }", first=jump)
    editor.lua("vim.bo.expandtab, vim.bo.shiftwidth, vim.bo.softtabstop = true, 4, 4")
    editor.type("Go")
    editor.type("<Tab>")
    editor.until(lambda: editor.lines()[1] == "    ", "an indented line", 10)
    editor.lua("_G.jumps = true")
    editor.type("<Tab>")
    editor.until(lambda: editor.lines()[1] == "    jumped", "the other plugin's text", 10)
    script(editor, "foo")
    editor.type(" ")
    shown(editor, "foo")
    editor.type("<Tab>")
    editor.until(lambda: editor.lines()[1] == "    jumped foo", "the suggestion", 10)


def test_accept_tells_a_key_of_another_plugin_whether_there_was_anything(start: Start) -> None:
    # blink.cmp calls such functions from an <expr> mapping, where text must not be changed.
    key = "vim.keymap.set('i', '<Tab>', function() return require('dlsp').accept() and '' or 'no' end, { expr = true })"
    editor = start(last=key)
    editor.type("Go<Tab>")
    editor.until(lambda: editor.lines()[1] == "no", "the key's own text", 10)
    script(editor, "foo")
    editor.type(" ")
    shown(editor, "foo")
    editor.type("<Tab>")
    editor.until(lambda: editor.lines()[1] == "no foo", "the suggestion", 10)
    assert not editor.errors()


def test_a_default_key_that_is_taken_is_left_alone(start: Start) -> None:
    editor = start(first="vim.keymap.set('i', '<M-w>', 'mine')")
    script(editor, "foo bar")
    editor.type("Go")
    shown(editor, "foo bar")
    editor.type("<M-w>")
    editor.until(lambda: editor.lines()[1] == "mine", "the user's own text", 10)


def test_no_keys_at_all_and_plugs_instead(start: Start) -> None:
    editor = start("{ keys = false }", last="vim.keymap.set('i', '<C-y>', '<Plug>(dlsp-accept)')")
    assert editor.nvim.funcs.maparg("<M-l>", "i") == ""
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    editor.type("<C-y>")
    editor.until(lambda: editor.lines()[1] == "foo", "the suggestion", 10)


def test_a_menu_with_a_selected_item_hides_it(start: Start) -> None:
    editor = start(text="alpha = 1\nalpine = 2\n")
    editor.lua("vim.o.completeopt = 'menuone,noinsert,noselect'")
    script(editor, " + 1")
    editor.type("Goal")
    shown(editor, " + 1")
    editor.type("<C-x><C-n>")
    editor.until(lambda: editor.nvim.funcs.pumvisible(), "menu", 10)
    shown(editor, " + 1")
    editor.type("<C-n>")
    editor.until(lambda: editor.ghost() == "", "a hidden suggestion", 10)
    editor.type("<C-y>")
    shown(editor, " + 1")
    assert editor.lines()[2] in ("alpha", "alpine")


def test_it_can_be_hidden_while_a_menu_is_open(start: Start) -> None:
    editor = start("{ hide_with_menu = true }", text="alpha = 1\nalpine = 2\n")
    editor.lua("vim.o.completeopt = 'menuone,noinsert,noselect'")
    script(editor, " + 1")
    editor.type("Goal")
    shown(editor, " + 1")
    editor.type("<C-x><C-n>")
    editor.until(lambda: editor.ghost() == "", "a hidden suggestion", 10)
    editor.type("<C-e>")
    shown(editor, " + 1")


def test_leaving_insert_mode_or_the_window_takes_it_away(start: Start) -> None:
    editor = start()
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    editor.type("<Esc>")
    assert editor.ghost() == ""
    editor.type("A")
    shown(editor, "foo")
    first = editor.nvim.current.buffer.number
    editor.type("<C-o>:new<CR>")
    editor.until(lambda: editor.nvim.current.buffer.number != first, "another window", 10)
    assert editor.lua("return #vim.api.nvim_buf_get_extmarks(..., vim.api.nvim_get_namespaces()['dlsp.ghost'], 0, -1, {})", first) == 0


def test_lines_that_are_out_of_sight_are_told(start: Start) -> None:
    editor = start(text="x = 1\n" * 200)
    script(editor, "if x:\n    1\n    2\n    3")
    editor.type("GA")
    editor.until(lambda: marks(editor), "ghost text", 20)
    assert any(piece[2:] == ("eol", " (+3 lines)") for piece in marks(editor)), marks(editor)


def test_the_server_learns_how_the_file_is_indented_and_what_is_shown(start: Start) -> None:
    editor = start()
    editor.lua("vim.bo.shiftwidth, vim.bo.expandtab = 3, true")
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    assert editor.lua("return _G.asked[#_G.asked].formattingOptions") == {"tabSize": 3, "insertSpaces": True}
    told = editor.lua("return vim.tbl_filter(function(one) return one[1] == 'textDocument/didShowCompletion' end, _G.told)")
    assert [one[1]["item"]["insertText"] for one in told] == ["foo"]
    assert editor.lua("return _G.initialize.capabilities.textDocument.inlineCompletion ~= nil")


def test_without_ghost_text_the_server_is_told_to_use_the_menu(start: Start) -> None:
    editor = start("{ ghost = 'off' }")
    assert editor.lua("return _G.initialize.capabilities.textDocument.inlineCompletion == nil")
    script(editor, "foo")
    editor.type("Gox")
    editor.until(lambda: editor.lines()[1] == "x", "a typed letter", 10)
    assert asked(editor) == 0


def test_it_asks_again_when_the_model_is_there(start: Start) -> None:
    editor = start()
    editor.lua("_G.dispatch.notification('dlsp/status', { state = 'loading' })")
    editor.type("Go")
    editor.until(lambda: asked(editor) > 0, "question", 10)
    assert editor.ghost() == ""
    script(editor, "foo")
    editor.lua("_G.dispatch.notification('dlsp/status', { state = 'ready' })")
    shown(editor, "foo")


def test_a_recorded_macro_is_replayed_without_questions(start: Start) -> None:
    editor = start()
    editor.type("qqoab<Esc>q")
    before = asked(editor)
    editor.type("5@q")
    editor.until(lambda: editor.lines().count("ab") == 6, "six lines", 10)
    assert asked(editor) == before


def test_status_line_words(start: Start) -> None:
    editor = start()

    def words(report: str) -> str:
        editor.lua(f"_G.dispatch.notification('dlsp/status', {report})")
        return editor.lua("return require('dlsp').statusline()")

    until = int((time.time() + 200) * 1000)
    assert words("{ state = 'ready', enabled = true }") == "dlsp"
    assert words("{ state = 'busy', enabled = true }") == "dlsp"
    assert words("{ state = 'loading', enabled = true }") == "dlsp: loading"
    assert words("{ state = 'ready', enabled = false }") == "dlsp: off"
    assert words(f"{{ state = 'ready', enabled = true, snoozedUntilMs = {until} }}") == "dlsp: snoozed 4 min"
    assert words("{ state = 'error', enabled = true }") == "dlsp: error"
    editor.type(":enew<CR>")
    editor.until(lambda: editor.lua("return require('dlsp').statusline()") == "", "no words where there is no server", 10)


def test_options_that_make_no_sense_are_named(start: Start) -> None:
    editor = start("{ deadlineMs = 5, ghost = 'purple', root_markers = { 1 }, keys = { akzept = 'x', accept = 5, ask = { '<C-b>', 7 } } }")
    editor.until(lambda: "6 options make no sense" in editor.messages(), "a sentence", 10)
    assert editor.messages().count("make no sense") == 1
    problems = "\n".join(editor.lua("return select(2, require('dlsp.options').get())"))
    assert "there is no option `deadlineMs`" in problems
    assert '`ghost` must be "auto"' in problems
    assert "there is no key `akzept`" in problems
    assert "`keys.accept` must be a key" in problems
    assert editor.nvim.funcs.maparg("<M-l>", "i", False, True)["desc"] == "dlsp: accept"
    assert not editor.errors()


@pytest.mark.parametrize(
    ("setup", "sentence"),
    [
        ("'x'", "the argument of `setup` must be a table"),
        ("{ cmd = {} }", "`cmd` must be a program"),
        ("{ keys = 'x' }", "`keys` must be a table"),
    ],
)
def test_a_wrong_option_is_answered_with_a_sentence_and_the_rest_works(start: Start, setup: str, sentence: str) -> None:
    # A server that connects by itself stands for one that is found.
    editor = start(setup, first="require('dlsp.server').command = function() return _G.scripted end")
    editor.until(lambda: sentence in editor.messages(), "a sentence", 10)
    assert "stack traceback" not in editor.messages()


def test_setup_may_be_called_twice(start: Start) -> None:
    editor = start("{ keys = { accept = '<C-b>' } }", first="require('dlsp').setup()")
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    editor.type("<C-b>")
    editor.until(lambda: editor.lines()[1] == "foo", "the suggestion", 10)
    assert editor.lua("return #vim.lsp.get_clients()") == 1
    assert asked(editor) <= 3


def test_a_menu_does_not_take_what_was_accepted_away_again(start: Start) -> None:
    editor = start(text="alpha = 1\nalpine = 2\n")
    editor.lua("vim.o.completeopt = 'menuone,noinsert,noselect'")
    script(editor, " + 1")
    editor.type("Goal<C-x><C-n>")
    editor.until(lambda: editor.nvim.funcs.pumvisible() and editor.ghost(), "menu and ghost text", 10)
    script(editor)
    editor.type("<M-l>")
    editor.until(lambda: editor.lines()[2] == "al + 1", "the suggestion", 10)
    assert not editor.nvim.funcs.pumvisible()
    editor.type("<C-n>z<Esc>")
    editor.until(lambda: editor.mode() == "n", "normal mode", 10)
    assert editor.lines()[2].startswith("al + 1")


def test_a_menu_of_another_plugin_that_opens_late_hides_it(start: Start) -> None:
    editor = start("{ hide_with_menu = true }")
    editor.lua("package.loaded['blink.cmp'] = { is_menu_visible = function() return _G.open end }")
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    editor.lua("_G.open = true vim.api.nvim_exec_autocmds('User', { pattern = 'BlinkCmpMenuOpen' })")
    shown(editor, "")
    editor.lua("_G.open = false vim.api.nvim_exec_autocmds('User', { pattern = 'BlinkCmpMenuClose' })")
    shown(editor, "foo")


# Neovim's own inline completion.


def test_who_has_neovims_own_switched_on_keeps_it(launch: Start) -> None:
    editor = launch(NEW, last="vim.lsp.inline_completion.enable()")
    script(editor, "foobar(1)")
    editor.type("Go")
    shown(editor, "foobar(1)")
    assert marks(editor) == []
    # Taken at once after a letter that was typed along: by itself Neovim 0.12.4 makes "foobar(1)f" of this.
    editor.nvim.input("f<M-l>")
    editor.until(lambda: editor.lines()[1] != "f", "accepted text", 10)
    assert editor.lines()[1] == "foobar(1)"
    assert editor.lua("return vim.lsp.inline_completion.is_enabled({ bufnr = 0 })")
    assert not editor.errors()


def test_neovims_own_does_not_take_what_was_typed_over(launch: Start) -> None:
    editor = launch(NEW, "{ ghost = 'builtin' }")
    script(editor, "foobar(1)")
    editor.type("Go")
    shown(editor, "foobar(1)")
    script(editor)
    editor.nvim.input("xy<M-l>z")
    editor.until(lambda: editor.lines()[1].endswith("z"), "typed text", 10)
    assert editor.lines()[1] == "xyz"


def test_parts_of_neovims_own_keep_the_rest_on_the_screen(launch: Start) -> None:
    editor = launch(NEW, "{ ghost = 'builtin' }")
    script(editor, "foo(a,\n    b)")
    editor.type("Go")
    shown(editor, "foo(a,\n    b)")
    editor.type("<M-w>")
    shown(editor, "(a,\n    b)")
    assert editor.lines()[1] == "foo"
    editor.type("<M-e>")
    shown(editor, "\n    b)")
    script(editor)
    editor.type("<M-l>")
    editor.until(lambda: editor.lines()[1:] == ["foo(a,", "    b)"], "all of it", 10)
    assert editor.lua("return vim.lsp.inline_completion.is_enabled({ bufnr = 0 })")
    script(editor, "more")
    editor.type("<CR>")
    shown(editor, "more")
    assert marks(editor) == []
    editor.type("<C-]>")
    shown(editor, "")
    assert not editor.errors()


def test_our_own_on_the_new_neovim_switches_the_other_off(launch: Start) -> None:
    editor = launch(NEW, "{ ghost = 'own' }", last="vim.lsp.inline_completion.enable()")
    script(editor, "foo")
    editor.type("Go")
    shown(editor, "foo")
    time.sleep(0.5)
    assert editor.ghost() == "foo"
    assert [piece[2] for piece in marks(editor)] == ["inline"]


# Commands.


def all_ranges(editor: Editor) -> list[tuple[int, int, int, int]]:
    """Of the next command: line and column of both ends."""
    said = editor.until(lambda: editor.lua("return table.remove(_G.commands)"), "command", 10)["arguments"][0]["ranges"]
    return [(*(one[end][name] for end in ("start", "end") for name in ("line", "character")),) for one in said]


def ranges(editor: Editor) -> dict[str, int]:
    (said,) = all_ranges(editor)
    return dict(zip(("start.line", "start.character", "end.line", "end.character"), said, strict=True))


def test_a_selection_of_characters_is_what_is_filled(start: Start) -> None:
    editor = start(text="f('😀ä', b)\nx = 1\n")
    editor.type("0f😀vf,:")
    editor.type("Dlsp infill<CR>")
    assert ranges(editor) == {"start.line": 0, "start.character": 3, "end.line": 0, "end.character": 8}


def test_lines_are_filled_without_their_last_line_end(start: Start) -> None:
    editor = start(text="a\n    bcd\n    e\nf\n")
    editor.type(":2,3Dlsp refine 30%<CR>")
    said = editor.until(lambda: editor.lua("return _G.commands[#_G.commands]"), "command", 10)
    assert ranges(editor) == {"start.line": 1, "start.character": 0, "end.line": 2, "end.character": 5}
    assert (said["command"], said["arguments"][0]["noise"]) == ("dlsp.refine", 0.3)


def test_a_motion_can_be_filled(start: Start) -> None:
    editor = start(text="foo(bar, baz)\n", last="vim.keymap.set('n', 'gs', '<Plug>(dlsp-infill)')")
    editor.type("0fbgsi(")
    assert ranges(editor) == {"start.line": 0, "start.character": 4, "end.line": 0, "end.character": 12}


def test_a_block_is_a_range_in_each_of_its_lines(start: Start) -> None:
    editor = start(text="abcdef\na\nhe\u0301😀llo\n", last="vim.keymap.set({ 'n', 'x' }, 'gs', '<Plug>(dlsp-infill)')")
    editor.type("gg0l<C-v>jjlgs")
    assert all_ranges(editor) == [(0, 1, 0, 4), (2, 1, 2, 5)]
    editor.type("gg0l<C-v>jj$gs")
    assert all_ranges(editor) == [(0, 1, 0, 6), (2, 1, 2, 8)]
    editor.type("gg0l<C-v>jjl<Esc>G$:")
    editor.type("'<lt>,'>Dlsp infill<CR>")
    assert all_ranges(editor) == [(0, 1, 0, 4), (2, 1, 2, 5)]
    editor.nvim.command("set selection=exclusive")
    editor.type("gg0l<C-v>llgs")
    assert all_ranges(editor) == [(0, 1, 0, 3)]
    editor.type("gg0lvlgs")
    assert all_ranges(editor) == [(0, 1, 0, 2)]


def test_lines_that_are_typed_are_not_an_old_selection(start: Start) -> None:
    editor = start(text="abc\ndef\n")
    editor.type("gg0lvj:")
    editor.type("Dlsp infill<CR>")
    assert all_ranges(editor) == [(0, 1, 1, 2)]
    editor.type(":1,2Dlsp infill<CR>")
    assert all_ranges(editor) == [(0, 0, 1, 3)]
    editor.nvim.command("'<,'>Dlsp infill")
    assert all_ranges(editor) == [(0, 1, 1, 2)]


def test_a_server_that_dies_leaves_no_marked_lines(start: Start) -> None:
    editor = start()
    editor.lua("local rpc = require('dlsp.lsp').client().rpc rpc.request = function() return true, 999 end")
    editor.type(":1Dlsp infill<CR>")
    marked = "return #vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_get_namespaces()['dlsp.busy'], 0, -1, {})"
    editor.until(lambda: editor.lua(marked) == 1, "a marked line", 10)
    editor.lua("_G.dispatch.on_exit(137, 9)")
    editor.until(lambda: editor.lua(marked) == 0, "a line that is not marked", 10)


def test_every_subcommand_is_offered_and_reaches_the_server(start: Start) -> None:
    editor = start()
    offered = editor.nvim.funcs.getcompletion("Dlsp ", "cmdline")
    wanted = "again cancel doctor holes infill log longer refine repair reset restart resume shorter snooze status toggle"
    assert " ".join(offered) == wanted
    assert editor.nvim.funcs.getcompletion("'<,'>Dlsp refine 0.", "cmdline") == ["0.1", "0.3", "0.5", "0.7"]
    assert editor.nvim.funcs.getcompletion("Dlsp snooze 5 ", "cmdline") == []
    names = {
        "again": "reroll",
        "cancel": "cancel",
        "holes": "fillHoles",
        "infill": "infill",
        "log": "logFile",
        "longer": "lengthen",
        "refine": "refine",
        "repair": "repair",
        "reset": "reset",
        "resume": "resume",
        "shorter": "shorten",
        "snooze 5": "snooze",
        "toggle language": "toggle",
    }
    for said, name in names.items():
        editor.nvim.command(f"Dlsp {said}")
        assert editor.lua("return _G.commands[#_G.commands].command") == f"dlsp.{name}"
    arguments = {one["command"]: one["arguments"][0] for one in editor.lua("return _G.commands")}
    assert arguments["dlsp.snooze"] == {"minutes": 5}
    assert arguments["dlsp.toggle"] == {"language": "python"}
    assert arguments["dlsp.infill"]["version"] == editor.lua("return vim.lsp.util.buf_versions[vim.api.nvim_get_current_buf()]")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("nonsense", "there is no `:Dlsp nonsense`; there are: again"),
        ("refine 7", "`7` is no noise level"),
        ("refine nan", "`nan` is no noise level"),
        ("snooze soon", "`soon` is no number of minutes"),
        ("snooze nan", "`nan` is no number of minutes"),
        ("snooze inf", "`inf` is no number of minutes"),
        ("snooze 5 6", "takes one argument"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(start: Start, said: str, sentence: str) -> None:
    editor = start()
    editor.type(f":Dlsp {said}<CR>")
    editor.until(lambda: sentence in editor.messages(), f"sentence {sentence!r}", 10)
    assert editor.lua("return #_G.commands") == 0
    # Nobody had to press Enter to get on.
    assert editor.nvim.api.get_mode() == {"mode": "n", "blocking": False}
    assert "stack traceback" not in editor.messages()


def test_the_server_speaks_without_asking_for_enter(start: Start) -> None:
    editor = start()
    long = "dlsp: " + "This sentence is much longer than the line of the editor in which it has to be shown. " * 3
    editor.lua("_G.dispatch.notification('window/showMessage', { type = 3, message = ... })", long)
    editor.until(lambda: "This sentence" in editor.messages(), "the sentence", 10)
    assert editor.nvim.api.get_mode() == {"mode": "n", "blocking": False}
    assert long.removeprefix("dlsp: ").strip() in editor.lua("return table.concat(require('dlsp.status').lines(), '\\n')")


def test_the_help_file_has_clean_tags_and_every_tag_that_is_used(launch: Start, tmp_path: Path) -> None:
    editor = launch(NEW)
    help_file = PLUGIN / "doc" / "dlsp.txt"
    copy = tmp_path / "doc"
    copy.mkdir()
    (copy / "dlsp.txt").write_text(help_file.read_text())
    editor.nvim.command(f"helptags {copy}")
    tags = {line.split("\t")[0] for line in (copy / "tags").read_text().splitlines()}
    text = help_file.read_text()
    assert set(re.findall(r"\|(dlsp[^|\s]*|:Dlsp[^|\s]*)\|", text)) <= tags
    for name in editor.nvim.funcs.getcompletion("Dlsp ", "cmdline"):
        assert f":Dlsp-{name}" in tags
    for name in editor.lua("return vim.tbl_keys(require('dlsp.options').get().keys)"):
        plug = f"<Plug>(dlsp-{name.replace('_', '-')})"
        assert plug in tags
        assert editor.nvim.funcs.maparg(plug, "i")
    assert max(len(line) for line in text.splitlines()) <= 78
