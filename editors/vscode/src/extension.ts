/**
 * dlsp in VS Code: starts the server, hands the editor's wishes to it, and shows how it is. Everything else is the server's.
 */
import * as vscode from 'vscode';
import { ExecuteCommandRequest } from 'vscode-languageclient/node';
import type { Client } from './client';
import { fill, type Details, type Wish } from './filling';
import { Server } from './server';
import { Shown } from './shown';
import { doctor, menu, pickMinutes, pickModel, statusBar, toggleLanguage } from './status';

const WISHES: readonly Wish[] = ['infill', 'fillHoles', 'refine', 'repair', 'reroll', 'lengthen', 'shorten'];
const SETTLED_MS = 800;
let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('dlsp', { log: true });
  const shown = new Shown((method, params) => {
    // A notification that is lost costs a count and nothing else.
    server?.client?.sendNotification(method, params).catch(() => {});
  });
  const connected = (client: Client) => {
    client.given = (items, document, position) => shown.given(items, document, position);
    shown.focus();
  };
  // Who began to write while the model was being loaded need not press another key to see what it has to say.
  const loaded = (client: Client) => {
    if (shown.waiting()) {
      client.unasked = true;
      void vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
    }
  };
  const here = (server = new Server(context, log, connected, loaded));
  context.subscriptions.push(log, shown, here, statusBar(here));

  const command = (name: string, act: (...args: never[]) => unknown) =>
    context.subscriptions.push(vscode.commands.registerCommand(name, act));
  for (const wish of WISHES) {
    command(`dlsp.${wish}`, (details?: Details) => fill(here, wish, plainDetails(details)));
  }
  /** One of the server's own commands, which says in a sentence what came of it. */
  const ask = async (name: string, argument: object = {}): Promise<unknown> => {
    const client = await here.ready();
    return client?.sendRequest(ExecuteCommandRequest.type, { command: name, arguments: [argument] });
  };
  command('dlsp.complete', async () => (await here.ready()) && vscode.commands.executeCommand('editor.action.inlineSuggest.trigger'));
  command('dlsp.cancel', () => ask('dlsp.cancel'));
  command('dlsp.toggle', () => ask('dlsp.toggle'));
  command('dlsp.toggleLanguage', (language?: string) => toggleLanguage(typeof language === 'string' ? language : undefined));
  command('dlsp.snooze', async (minutes?: number) => {
    const length = typeof minutes === 'number' ? minutes : await pickMinutes();
    return length ? ask('dlsp.snooze', { minutes: length }) : undefined;
  });
  command('dlsp.resume', () => ask('dlsp.resume'));
  command('dlsp.reset', () => ask('dlsp.reset'));
  command('dlsp.logFile', () => ask('dlsp.logFile'));
  command('dlsp.pickModel', () => pickModel(here));
  command('dlsp.menu', () => menu(here));
  command('dlsp.restart', () => here.start(true));
  command('dlsp.install', () => here.install());
  command('dlsp.showLog', () => log.show());
  command('dlsp.doctor', () => doctor(here));
  command('dlsp.walkthrough', () => vscode.commands.executeCommand('workbench.action.openWalkthrough', `${context.extension.id}#start`));

  let settling: NodeJS.Timeout | undefined;
  const unlessRunning = () => {
    if (here.life.at === 'missing') {
      void here.start();
    }
  };
  context.subscriptions.push(
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('dlsp.serverPath') || event.affectsConfiguration('dlsp.popup')) {
        // The settings editor writes a path while it is typed; only what it comes to is worth a start, or a complaint.
        clearTimeout(settling);
        settling = setTimeout(() => void here.start(true), SETTLED_MS);
      }
    }),
    { dispose: () => clearTimeout(settling) },
    vscode.workspace.onDidGrantWorkspaceTrust(() => void here.start()),
    vscode.workspace.onDidChangeWorkspaceFolders(unlessRunning),
  );
  void here.start();
}

/** So that the server hears of the end and can put everything away. */
export function deactivate(): Promise<void> | undefined {
  return server?.stop();
}

/** A menu hands over the document it was opened on; only what a key binding says is meant. */
function plainDetails(details: unknown): Details {
  if (typeof details !== 'object' || details === null || details instanceof vscode.Uri) {
    return {};
  }
  const { noise, lock, alternatives, seed, marker } = details as Details;
  return Object.fromEntries(Object.entries({ noise, lock, alternatives, seed, marker }).filter(([, value]) => value !== undefined));
}
