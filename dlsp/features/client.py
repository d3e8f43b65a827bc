"""What the client can do, read once from its first message, so that nothing else has to look into its capabilities.

Knows no feature; what a client does not say counts as no.
"""

from __future__ import annotations

from typing import Any

import msgspec
from lsprotocol import types
from pygls.capabilities import get_capability


class ClientFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`inline`: it shows ghost text by itself. `snippets`, `as_is`, `markdown`: what items of its popup may hold.

    `resolve_edit`: it asks for the edit of a code action when the action is taken. `disabled`, `llm_tag`: it shows why an action cannot
    be taken, and that one is a model's. `document_changes`, `annotations`, `snippet_edits`, `metadata`: what an edit of the
    workspace may hold. `watched_files`: it can be asked to tell of changed files. `progress`: it shows progress that we begin.
    """

    inline: bool = False
    snippets: bool = False
    as_is: bool = False
    markdown: bool = False
    resolve_edit: bool = False
    disabled: bool = False
    llm_tag: bool = False
    document_changes: bool = False
    annotations: bool = False
    snippet_edits: bool = False
    metadata: bool = False
    watched_files: bool = False
    progress: bool = False
    name: str = ""
    version: str = ""


def client_facts(params: types.InitializeParams) -> ClientFacts:
    """The facts from the parameters of `initialize`."""

    def said(path: str) -> Any:
        return get_capability(params.capabilities, path)

    item, action, edit = "text_document.completion.completion_item", "text_document.code_action", "workspace.workspace_edit"
    info = params.client_info
    return ClientFacts(
        inline=said("text_document.inline_completion") is not None,
        snippets=bool(said(f"{item}.snippet_support")),
        as_is=types.InsertTextMode.AsIs in (said(f"{item}.insert_text_mode_support.value_set") or ()),
        markdown=types.MarkupKind.Markdown in (said(f"{item}.documentation_format") or ()),
        resolve_edit=bool(said(f"{action}.data_support")) and "edit" in (said(f"{action}.resolve_support.properties") or ()),
        disabled=bool(said(f"{action}.disabled_support")),
        llm_tag=types.CodeActionTag.LlmGenerated in (said(f"{action}.tag_support.value_set") or ()),
        document_changes=bool(said(f"{edit}.document_changes")),
        annotations=said(f"{edit}.change_annotation_support") is not None,
        snippet_edits=bool(said(f"{edit}.snippet_edit_support")),
        metadata=bool(said(f"{edit}.metadata_support")),
        watched_files=bool(said("workspace.did_change_watched_files.dynamic_registration")),
        progress=bool(said("window.work_done_progress")),
        name=info.name if info else "",
        version=(info.version or "") if info else "",
    )


def essentials(params: Any) -> dict[str, Any]:
    """Of what a client says about itself, only what we use; a value of the wrong kind is left out.

    For clients newer than our protocol types, whose message as a whole those types cannot hold. What is read above must be here.
    """
    params = params if isinstance(params, dict) else {}

    def part(*path: str, kind: type = dict) -> Any:
        value: Any = params
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, kind) and not (kind is int and isinstance(value, bool)) else None

    def flags(path: tuple[str, ...], *names: str) -> dict[str, bool | None]:
        return {name: part("capabilities", *path, name, kind=bool) for name in names}

    def known(path: tuple[str, ...], values: tuple[str | int, ...]) -> list[str | int]:
        return [value for value in part("capabilities", *path, kind=list) or [] if value in values and not isinstance(value, bool)]

    def present(*path: str) -> dict[str, Any] | None:
        return None if part("capabilities", *path) is None else {}

    folders = part("workspaceFolders", kind=list) or []
    encodings = part("capabilities", "general", "positionEncodings", kind=list) or []
    item, action, edit = ("textDocument", "completion", "completionItem"), ("textDocument", "codeAction"), ("workspace", "workspaceEdit")
    name, version = part("clientInfo", "name", kind=str), part("clientInfo", "version", kind=str)
    return {
        "processId": part("processId", kind=int),
        "clientInfo": None if name is None else {"name": name, "version": version},
        "rootUri": part("rootUri", kind=str),
        "initializationOptions": part("initializationOptions"),
        "workspaceFolders": [
            folder for folder in folders if isinstance(folder, dict) and all(isinstance(folder.get(key), str) for key in ("uri", "name"))
        ],
        "capabilities": {
            "general": {"positionEncodings": [encoding for encoding in encodings if isinstance(encoding, str)] or ["utf-16"]},
            "window": {
                **flags(("window",), "workDoneProgress"),
                "showDocument": {"support": part("capabilities", "window", "showDocument", "support", kind=bool) or False},
            },
            "notebookDocument": None if present("notebookDocument") is None else {"synchronization": {}},
            "workspace": {
                **flags(("workspace",), "configuration", "applyEdit"),
                "didChangeConfiguration": flags(("workspace", "didChangeConfiguration"), "dynamicRegistration"),
                "didChangeWatchedFiles": flags(("workspace", "didChangeWatchedFiles"), "dynamicRegistration"),
                "workspaceEdit": {
                    **flags(edit, "documentChanges", "metadataSupport", "snippetEditSupport"),
                    "changeAnnotationSupport": present(*edit, "changeAnnotationSupport"),
                },
            },
            "textDocument": {
                "inlineCompletion": present("textDocument", "inlineCompletion"),
                "completion": {
                    "completionItem": {
                        **flags(item, "snippetSupport"),
                        "documentationFormat": known((*item, "documentationFormat"), ("markdown", "plaintext")),
                        "insertTextModeSupport": {"valueSet": known((*item, "insertTextModeSupport", "valueSet"), (1, 2))},
                    }
                },
                "codeAction": {
                    **flags(action, "dataSupport", "disabledSupport"),
                    "resolveSupport": {"properties": known((*action, "resolveSupport", "properties"), ("edit", "command"))},
                    "tagSupport": {"valueSet": known((*action, "tagSupport", "valueSet"), (1,))},
                },
            },
        },
    }
