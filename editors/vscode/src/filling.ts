/**
 * The commands that fill something: what is selected goes to the server, with progress that can be cancelled. The server applies
 * the edit and says in a sentence what there is to say.
 */
import * as vscode from 'vscode';
import { ExecuteCommandRequest, WorkDoneProgress } from 'vscode-languageclient/node';
import { editorInUse, indentation } from './client';
import type { Server } from './server';

export type Wish = 'infill' | 'fillHoles' | 'refine' | 'repair' | 'reroll' | 'lengthen' | 'shorten';
type Lock = 'names' | 'literals' | 'skeleton';

/** What a key binding or another extension may say about a wish; what it leaves out is asked, or left to the server. */
export interface Details {
  readonly noise?: number;
  readonly lock?: readonly Lock[];
  readonly alternatives?: number;
  readonly seed?: number;
  readonly marker?: string;
}

/** What came of it, as the server tells it. */
export interface Outcome {
  readonly applied: boolean;
  readonly reason: string;
  readonly message: string;
  readonly holes: number;
  readonly skipped: number;
}

const TITLES: Record<Wish, string> = {
  infill: 'filling the selection',
  fillHoles: 'filling the holes',
  refine: 'refining the selection',
  repair: 'repairing',
  reroll: 'filling differently',
  lengthen: 'filling with a longer text',
  shorten: 'filling with a shorter text',
};
/** Work that is over sooner is not announced: a box that only flashes up tells nobody anything. */
const QUIET_MS = 400;
let tokens = 0;

/** Fill what is selected in the active editor. Answers nothing if there was nothing to ask or the user thought better of it. */
export async function fill(server: Server, wish: Wish, details: Details = {}): Promise<Outcome | undefined> {
  const editor = editorInUse();
  if (!editor) {
    return undefined;
  }
  const client = await server.ready();
  if (!client) {
    return undefined;
  }
  if (editorInUse() !== editor) {
    void vscode.window.showWarningMessage('dlsp: Nothing was filled. Another editor came to the front while the server was started.');
    return undefined;
  }
  const ranges = selected(editor, wish);
  if (wish === 'refine' && details.noise === undefined) {
    const level = ranges?.length ? await pickNoise() : undefined;
    if (ranges?.length && !level) {
      return undefined;
    }
    details = { ...details, ...level };
  }
  const document = editor.document;
  const workDoneToken = `dlsp-vscode-${++tokens}`;
  const argument = { uri: client.code2ProtocolConverter.asUri(document.uri), version: document.version, ...indentation(document), ...details, ...(ranges ? { ranges: ranges.map((range) => client.code2ProtocolConverter.asRange(range)) } : {}) };
  const progress = new Progress(`dlsp: ${TITLES[wish]}`, () => {
    // A client that is just being stopped takes nothing more, and the work ends with it.
    client.sendNotification('window/workDoneProgress/cancel', { token: workDoneToken }).catch(() => {});
  });
  const listening = client.onProgress(WorkDoneProgress.type, workDoneToken, (value) => {
    if (value.kind !== 'end') {
      progress.say(value.message ?? '', value.percentage ?? 0);
    }
  });
  try {
    return (await client.sendRequest(ExecuteCommandRequest.type, { command: `dlsp.${wish}`, arguments: [argument], workDoneToken })) as Outcome;
  } catch (error) {
    // The connection went away, or the request made no sense; the life of the server says so in the status bar as well.
    const said = server.client === client ? (error instanceof Error ? error.message : String(error)) : 'The server ended meanwhile.';
    void vscode.window.showWarningMessage(`dlsp: Nothing was filled. ${said}`);
    return undefined;
  } finally {
    listening.dispose();
    progress.end();
  }
}

/** A box with a bar and a Cancel button, which is shown only when the work takes a while. */
class Progress {
  private message = '';
  private percent = 0;
  private box: vscode.Progress<{ message?: string; increment?: number }> | undefined;
  private finish: () => void = () => {};
  private readonly timer: NodeJS.Timeout;

  constructor(title: string, onCancel: () => void) {
    const done = new Promise<void>((resolve) => {
      this.finish = resolve;
    });
    this.timer = setTimeout(() => {
      void vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title, cancellable: true }, async (box, token) => {
        token.onCancellationRequested(onCancel);
        this.box = box;
        box.report({ message: this.message, increment: this.percent });
        await done;
      });
    }, QUIET_MS);
  }

  say(message: string, percent: number): void {
    this.box?.report({ message, increment: Math.max(0, percent - this.percent) });
    this.message = message;
    this.percent = Math.max(this.percent, percent);
  }

  end(): void {
    clearTimeout(this.timer);
    this.finish();
  }
}

function selected(editor: vscode.TextEditor, wish: Wish): vscode.Range[] | undefined {
  const ranges: vscode.Range[] = editor.selections.filter((selection) => !selection.isEmpty);
  switch (wish) {
    case 'infill':
    case 'refine':
      return ranges;
    case 'repair':
      // Without a selection it is the error at the cursor, so the place must be named.
      return ranges.length ? ranges : [atCursor(editor)];
    default:
      // Without a selection it is the whole document, or the text that was filled in last.
      return ranges.length ? ranges : undefined;
  }
}

/** The worst diagnostic where the cursor is, or else its line, in which the server looks for what does not parse. */
function atCursor(editor: vscode.TextEditor): vscode.Range {
  const cursor = editor.selection.active;
  const near = vscode.languages
    .getDiagnostics(editor.document.uri)
    .filter((each) => each.severity <= vscode.DiagnosticSeverity.Warning && each.range.start.line <= cursor.line && cursor.line <= each.range.end.line)
    .sort((a, b) => Number(b.range.contains(cursor)) - Number(a.range.contains(cursor)) || a.severity - b.severity);
  return near[0]?.range ?? editor.document.lineAt(cursor.line).range;
}

interface Level extends vscode.QuickPickItem {
  readonly noise?: number;
  readonly lock?: Lock;
}

const LEVELS: readonly Level[] = [
  { label: '10 %', description: 'only the least certain words', noise: 0.1 },
  { label: '30 %', description: 'some of it', noise: 0.3 },
  { label: '50 %', description: 'half of it', noise: 0.5 },
  { label: '70 %', description: 'most of it', noise: 0.7 },
  { label: '100 %', description: 'all of it, as if the place were empty', noise: 1 },
];
const LOCKS: readonly (readonly [Lock, string])[] = [
  ['names', 'the names'],
  ['literals', 'strings, numbers and comments'],
  ['skeleton', 'headers of blocks, keywords and brackets'],
];

let lastNoise = 0.5;
const lastLocks = new Set<Lock>();

/** How much of the selection is opened again, and what of it stays; remembered until the window is closed. */
function pickNoise(): Promise<{ noise: number; lock: Lock[] } | undefined> {
  const picker = vscode.window.createQuickPick<Level>();
  picker.title = 'dlsp: how much of the selection may change?';
  picker.placeholder = 'The words the model is least sure of go first';
  const items = (): Level[] => [
    ...LEVELS,
    { label: 'Keep as they are', kind: vscode.QuickPickItemKind.Separator },
    ...LOCKS.map(([lock, words]) => ({ label: `$(${lastLocks.has(lock) ? 'check' : 'circle-large-outline'}) Keep ${words}`, lock })),
  ];
  picker.items = items();
  picker.activeItems = picker.items.filter((item) => item.noise === lastNoise);
  return new Promise((resolve) => {
    picker.onDidAccept(() => {
      const item = picker.activeItems[0];
      if (item?.lock) {
        if (!lastLocks.delete(item.lock)) {
          lastLocks.add(item.lock);
        }
        picker.items = items();
        picker.activeItems = picker.items.filter((each) => each.lock === item.lock);
      } else if (item?.noise !== undefined) {
        lastNoise = item.noise;
        resolve({ noise: item.noise, lock: [...lastLocks] });
        picker.hide();
      }
    });
    picker.onDidHide(() => {
      resolve(undefined);
      picker.dispose();
    });
    picker.show();
  });
}
