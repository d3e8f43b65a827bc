/**
 * What the user has set, for the extension and for the server. The server is told only what somebody has set: its own settings
 * file would count for nothing if the editor named every default.
 */
import * as vscode from 'vscode';
import generated from '../settings.generated.json';

export const SECTION = 'dlsp';

const NAMES = Object.keys(generated.properties).map((name) => name.slice(SECTION.length + 1));

/** The server's settings that differ from "not said", as the answer to `workspace/configuration`. */
export function serverSettings(): Record<string, unknown> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const said: Record<string, unknown> = {};
  for (const name of NAMES) {
    const found = configuration.inspect(name);
    if (found && [found.globalValue, found.workspaceValue, found.workspaceFolderValue].some((value) => value !== undefined)) {
      said[name] = configuration.get(name);
    }
  }
  return said;
}

/**
 * One of the extension's own settings. In a folder that is not trusted only the user's own value counts: the editor sees to that
 * too, but a program of somebody else's is at stake.
 */
export function own(name: 'serverPath' | 'installFrom'): string {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const value = vscode.workspace.isTrusted ? configuration.get(name) : configuration.inspect(name)?.globalValue;
  return typeof value === 'string' ? value.trim() : '';
}

/** Keep a value for all of the user's folders, or for this one where it has a value of its own: that would go on to count. */
export async function keep(name: string, value: unknown): Promise<void> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const ofFolder = configuration.inspect(name)?.workspaceValue !== undefined;
  await configuration.update(name, value, ofFolder ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global);
}

/** What is set for languages by name, `*` for all others. */
export function languages(): Record<string, boolean> {
  return { ...vscode.workspace.getConfiguration(SECTION).get<Record<string, boolean>>('languages', {}) };
}

/** Whether the completion popup gets text beside the ghost text; the client must be told before it is made. */
export function popupWanted(): boolean {
  return vscode.workspace.getConfiguration(SECTION).get('popup') === 'always';
}
