/**
 * Tells the server which ghost text came onto the screen, when a part of it was taken, and which document has the focus.
 * The editor tells extensions neither, so it is read off what it asked for and how the document changes. Knows no model.
 */
import * as vscode from 'vscode';

export type Notify = (method: string, params: object) => void;

interface OnScreen {
  readonly document: vscode.TextDocument;
  /** What is offered behind the cursor, and where that begins. */
  readonly text: string;
  readonly offset: number;
  /** How much of it stands in the document by now, in UTF-16 units. */
  done: number;
}

/** Text that the editor was handed and dropped again within this time was never read. */
const ON_SCREEN_MS = 60;
/** Who wrote longer ago than this has turned to something else. */
const STILL_THERE_MS = 120_000;

export class Shown implements vscode.Disposable {
  private live: OnScreen | undefined;
  private typed: { readonly document: vscode.TextDocument; readonly version: number; readonly at: number } | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly listening: vscode.Disposable[] = [];

  constructor(private readonly notify: Notify) {
    const document = vscode.window.activeTextEditor?.document;
    if (document && document.version > 1) {
      // Written while the extension was being started.
      this.typed = { document, version: document.version, at: Date.now() };
    }
    this.listening.push(
      vscode.workspace.onDidChangeTextDocument((event) => this.changed(event)),
      vscode.window.onDidChangeActiveTextEditor((editor) => this.focus(editor)),
    );
  }

  /** The editor was given these items for a place in a document. */
  given(items: readonly vscode.InlineCompletionItem[], document: vscode.TextDocument, position: vscode.Position): void {
    clearTimeout(this.timer);
    this.live = undefined;
    const first = items[0];
    if (!first) {
      return;
    }
    const whole = typeof first.insertText === 'string' ? first.insertText : first.insertText.value;
    const before = first.range ? document.getText(new vscode.Range(first.range.start, position)) : '';
    const text = whole.startsWith(before) ? whole.slice(before.length) : whole;
    const live = { document, text, offset: document.offsetAt(position), done: 0 };
    const { version } = document;
    this.timer = setTimeout(() => {
      const editor = vscode.window.activeTextEditor;
      const stands = document.version === version && editor?.selection.isEmpty && editor.selection.active.isEqual(position);
      if (editor?.document === document && stands) {
        this.live = live;
        this.notify('textDocument/didShowCompletion', { ...about(document), item: { insertText: text } });
      }
    }, ON_SCREEN_MS);
  }

  /** Whether the user has just written at the cursor and nothing came of it. */
  waiting(): boolean {
    const editor = vscode.window.activeTextEditor;
    const typed = this.typed;
    return (
      !!editor && !!typed && !this.live && editor.document === typed.document &&
      editor.document.version === typed.version && Date.now() - typed.at < STILL_THERE_MS
    );
  }

  /** An editor has the focus now. */
  focus(editor = vscode.window.activeTextEditor): void {
    if (editor) {
      this.notify('textDocument/didFocus', about(editor.document));
    }
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listening.forEach((each) => each.dispose());
  }

  private changed(event: vscode.TextDocumentChangeEvent): void {
    if (event.contentChanges.length && event.document === vscode.window.activeTextEditor?.document) {
      this.typed = { document: event.document, version: event.document.version, at: Date.now() };
    }
    const live = this.live;
    if (!live || event.document !== live.document || !event.contentChanges.length) {
      return;
    }
    const [change, ...more] = event.contentChanges;
    const rest = live.text.slice(live.done);
    const goesOn = change && !more.length && !change.rangeLength && change.rangeOffset === live.offset + live.done && rest.startsWith(change.text);
    if (!goesOn || change.text.length === rest.length) {
      this.live = undefined;
      return;
    }
    live.done += change.text.length;
    // One character is typed; several that fit were taken by the word or by the line.
    if (change.text.length > 1) {
      this.notify('textDocument/didPartiallyAcceptCompletion', {
        ...about(live.document),
        item: { insertText: live.text },
        acceptedLength: live.done,
      });
    }
  }
}

function about(document: vscode.TextDocument): { textDocument: { uri: string } } {
  return { textDocument: { uri: document.uri.toString() } };
}
