/**
 * The item in the status bar and its menu. Shows what the server's life and report say, and offers what can be done about it.
 */
import * as vscode from 'vscode';
import { editorInUse } from './client';
import { run } from './programs';
import { lastEmpty, look, snoozed, type Report } from './report';
import type { Server } from './server';
import { keep, languages } from './settings';

const SEVERITIES = {
  none: undefined,
  warning: new vscode.ThemeColor('statusBarItem.warningBackground'),
  error: new vscode.ThemeColor('statusBarItem.errorBackground'),
} as const;

export function statusBar(server: Server): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('dlsp.status', vscode.StatusBarAlignment.Right, 90);
  item.name = 'dlsp';
  item.command = 'dlsp.menu';
  const refresh = () => {
    const { text, severity, tooltip } = look(server.life, server.report);
    item.text = text;
    item.backgroundColor = SEVERITIES[severity];
    const words = new vscode.MarkdownString(['**dlsp**', ...tooltip, '*Click for the menu.*'].join('\n\n'));
    item.tooltip = words;
    item.accessibilityInformation = { label: [text.replace(/\$\([^)]*\)/g, '').trim(), ...tooltip].join(', ').replaceAll('**', ''), role: 'button' };
  };
  refresh();
  item.show();
  return vscode.Disposable.from(item, server.onDidChange(refresh));
}

/** As the server has it. */
const OFF_BY_DEFAULT: ReadonlySet<string> = new Set(['plaintext', 'markdown']);

interface Choice extends vscode.QuickPickItem {
  readonly act?: () => unknown;
}

/** The menu: what is the case on top, then what can be done about it. */
export async function menu(server: Server): Promise<void> {
  const { life, report } = server;
  const command = (label: string, name: string, description = '', ...args: unknown[]): Choice => ({
    label,
    description,
    act: () => vscode.commands.executeCommand(name, ...args),
  });
  const choices: Choice[] = [];
  if (life.at === 'running' && report) {
    choices.push(...reasonsWhy(report), ...switches(report, command), { label: '', kind: vscode.QuickPickItemKind.Separator });
    choices.push(command('$(chip) Model...', 'dlsp.pickModel', [report.model, report.device].filter(Boolean).join(', ')));
  } else if ('problem' in life) {
    choices.push({ label: `$(info) ${life.problem}`, act: () => server.log.show() });
    choices.push({ label: '', kind: vscode.QuickPickItemKind.Separator });
  }
  if (life.at !== 'running') {
    choices.push(command('$(cloud-download) Install or find the server...', 'dlsp.install'));
  }
  choices.push(
    command('$(debug-restart) Restart the server', 'dlsp.restart'),
    command('$(heart) Run the doctor', 'dlsp.doctor', 'what is missing, and the command that fixes it'),
    command('$(output) Show the log', 'dlsp.showLog'),
    command('$(gear) Settings', 'workbench.action.openSettings', '', '@ext:dlsp.dlsp'),
    command('$(book) Walkthrough', 'dlsp.walkthrough'),
  );
  const version = life.at === 'running' && life.version ? ` ${life.version}` : '';
  const chosen = await vscode.window.showQuickPick(choices, { title: `dlsp${version}`, placeHolder: 'What shall be done?' });
  await chosen?.act?.();
}

/** Turn the language of the active document on or off, for good: it is a setting. */
export async function toggleLanguage(language = editorInUse()?.document.languageId): Promise<void> {
  if (language) {
    await keep('languages', { ...languages(), [language]: !languageIsOn(language) });
  }
}

function languageIsOn(language: string): boolean {
  const said = languages();
  return said[language] ?? said['*'] ?? !OFF_BY_DEFAULT.has(language);
}

/** Ask for how long completions pause. */
export async function pickMinutes(): Promise<number | undefined> {
  const lengths = [5, 10, 30, 60, 240].map((minutes) => ({ label: minutes < 60 ? `${minutes} minutes` : minutes === 60 ? '1 hour' : `${minutes / 60} hours`, minutes }));
  return (await vscode.window.showQuickPick(lengths, { title: 'dlsp: pause completions for' }))?.minutes;
}

interface Models {
  readonly models: readonly { readonly name: string; readonly licence: string; readonly size: number; readonly folder: string; readonly problem: string }[];
}

/** Ask for a model among those on the disk, or for the folder of one, and write the setting. */
export async function pickModel(server: Server): Promise<void> {
  const program = server.command ?? ((await server.ready()) && server.command);
  if (!program) {
    return;
  }
  const current = server.report?.model ?? '';
  const outcome = await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title: 'dlsp: listing models' }, () => run(program, ['models', '--json']));
  let listed: Models['models'] = [];
  try {
    listed = (JSON.parse(outcome.output) as Models).models;
  } catch {
    server.log.warn(`\`dlsp models --json\` ended with status ${outcome.code} and without a list.`);
  }
  const other = { label: '$(folder) The folder of a checkpoint...', name: '' };
  const more = { label: '$(cloud-download) How to get more models', name: '?', description: '`dlsp models pull NAME`' };
  const chosen = await vscode.window.showQuickPick(
    [
      ...listed.map((model) => ({
        label: `${model.name === current ? '$(check) ' : ''}${model.name}`,
        description: [`${(model.size / 1e6).toFixed(0)} MB`, model.licence, model.problem].filter(Boolean).join(', '),
        name: model.name,
      })),
      { label: '', kind: vscode.QuickPickItemKind.Separator, name: '' },
      other,
      more,
    ],
    { title: 'dlsp: the model for all windows' },
  );
  if (chosen === more) {
    const models = await run(program, ['models']);
    server.said.replace(`${models.output}\nIn a terminal: ${program} models pull NAME\n`);
    server.said.show(true);
  } else if (chosen === other) {
    const folder = await vscode.window.showOpenDialog({ title: 'The folder of a checkpoint', canSelectFiles: false, canSelectFolders: true });
    if (folder?.[0]) {
      await keep('model', folder[0].fsPath);
    }
  } else if (chosen) {
    await keep('model', chosen.name);
  }
}

/** Run the doctor, and show what it says. */
export async function doctor(server: Server): Promise<void> {
  const program = server.command ?? ((await server.ready()) && server.command);
  if (!program) {
    return;
  }
  server.said.clear();
  server.said.show(true);
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title: 'dlsp: the doctor is looking' }, () =>
    run(program, ['doctor', ...(folder?.scheme === 'file' ? ['--root', folder.fsPath] : [])], (line) => server.said.appendLine(line)),
  );
}

function reasonsWhy(report: Report): Choice[] {
  const why = report.state === 'error' ? report.message || report.explanation : lastEmpty(report);
  if (!why) {
    return [];
  }
  const label = report.state === 'error' ? `$(error) ${why}` : '$(info) Why was nothing shown?';
  return [
    { label, ...(report.state === 'error' ? {} : { detail: why }), act: () => vscode.commands.executeCommand('dlsp.showLog') },
    { label: '', kind: vscode.QuickPickItemKind.Separator },
  ];
}

function switches(report: Report, command: (label: string, name: string, description?: string, ...args: unknown[]) => Choice): Choice[] {
  const language = editorInUse()?.document.languageId;
  const choices: Choice[] = [];
  if (snoozed(report)) {
    choices.push(command('$(play) Resume', 'dlsp.resume'));
  } else {
    choices.push(command('$(clock) Pause...', 'dlsp.snooze'));
  }
  const turn = (on: boolean) => (on ? '$(check) Turn on' : '$(circle-slash) Turn off');
  if (language) {
    const on = languageIsOn(language);
    choices.push(command(`${turn(!on)} in ${language}`, 'dlsp.toggleLanguage', 'a setting', language));
    // Where the language is off anyway, the report cannot tell whether everything else is.
    if (on) {
      choices.push(command(`${turn(!report.enabled)} everywhere`, 'dlsp.toggle', 'until the window is closed'));
    }
  }
  return choices;
}
