/**
 * Installing or naming the server, with the user deciding from what, and with which tool, before anything is run.
 */
import { existsSync } from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { answers, run } from './programs';
import { keep, own } from './settings';

const PYTHONS = process.platform === 'win32' ? ['py', 'python'] : ['python3', 'python3.13', 'python3.12', 'python3.11', 'python'];
const NEW_ENOUGH = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))';

interface Way extends vscode.QuickPickItem {
  /** Commands, one after the other; each must succeed. */
  readonly commands: (source: string) => readonly (readonly [string, ...string[]])[];
}

/**
 * Ask what to do about a server that is missing; true if it is worth looking for it again. `looked` says where it was looked
 * for, `ownEnvironment` is where an environment of the extension's own would be.
 */
export async function install(ownEnvironment: string, log: vscode.LogOutputChannel): Promise<boolean> {
  const choice = await vscode.window.showQuickPick(
    [
      { label: '$(cloud-download) Install...', description: 'with uv, pipx, or into an environment of its own', id: 'install' },
      { label: '$(folder-opened) Say where it is...', description: 'writes the setting dlsp.serverPath', id: 'choose' },
      { label: '$(search) Look again', description: 'after you have installed it yourself', id: 'again' },
    ],
    { title: 'dlsp: get the server', placeHolder: 'The extension talks to the program dlsp. What shall be done?' },
  );
  switch (choice?.id) {
    case 'again':
      return true;
    case 'choose':
      return choosePath();
    case 'install':
      return (await installFromSource(ownEnvironment, log)) && (await willBeFound());
    default:
      return false;
  }
}

async function choosePath(): Promise<boolean> {
  // A dialog that may choose both chooses folders only, except on macOS, so it asks for the folder everywhere.
  const chosen = await vscode.window.showOpenDialog({
    title: 'The folder in which dlsp is, or the folder of its Python environment',
    openLabel: 'Use This',
    canSelectFiles: false,
    canSelectFolders: true,
    defaultUri: vscode.Uri.file(os.homedir()),
  });
  if (!chosen?.[0]) {
    return false;
  }
  const known = own('serverPath') === chosen[0].fsPath;
  await keep('serverPath', chosen[0].fsPath);
  // A setting that changes starts the server by itself.
  return known;
}

/** Whether to look anew for what was just installed: where the setting names a program, the user is asked which one counts. */
async function willBeFound(): Promise<boolean> {
  const named = own('serverPath');
  if (!named) {
    return true;
  }
  const use = 'Use the Installed One';
  const message = `dlsp is installed, but the setting dlsp.serverPath names ${named}, which goes first.`;
  if ((await vscode.window.showInformationMessage(message, use)) !== use) {
    // It may be the one that was installed again.
    return true;
  }
  await keep('serverPath', undefined);
  // A setting that changes starts the server by itself.
  return false;
}

async function installFromSource(ownEnvironment: string, log: vscode.LogOutputChannel): Promise<boolean> {
  const source = await chooseSource();
  if (!source) {
    return false;
  }
  const ways = await possibleWays(ownEnvironment);
  if (!ways.length) {
    void vscode.window.showErrorMessage('dlsp needs uv, pipx, or Python 3.11 or newer with venv. Install one of them and try again.');
    return false;
  }
  const way = await vscode.window.showQuickPick(ways, {
    title: 'dlsp: install with',
    placeHolder: 'It takes 1.5 GB, with the libraries of CUDA about 6 GB. The log shows what runs.',
  });
  if (!way) {
    return false;
  }
  return vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title: 'dlsp: installing the server', cancellable: true },
    async (progress, token) => {
      for (const [command, ...args] of way.commands(source)) {
        log.info(`> ${[command, ...args].join(' ')}`);
        const outcome = await run(command, args, (line) => {
          log.info(line);
          progress.report({ message: line.length > 80 ? `${line.slice(0, 80)}...` : line });
        }, token);
        if (token.isCancellationRequested) {
          return false;
        }
        if (outcome.code !== 0) {
          const answer = await vscode.window.showErrorMessage(
            `dlsp could not be installed: ${path.basename(command)} ended with status ${outcome.code}. The log has what it said.`,
            'Show Log',
          );
          if (answer) {
            log.show();
          }
          return false;
        }
      }
      return true;
    },
  );
}

/** What is installed: a clone, a wheel, or whatever else pip understands. No name is guessed, for anybody could have taken it. */
async function chooseSource(): Promise<string | undefined> {
  const known = own('installFrom');
  if (known) {
    return known.startsWith('~/') ? os.homedir() + known.slice(1) : known;
  }
  const choice = await vscode.window.showQuickPick(
    [
      { label: '$(folder) A clone of dlsp...', description: 'the folder with its pyproject.toml', id: 'folder' },
      { label: '$(package) A wheel file...', description: 'dlsp-*.whl', id: 'wheel' },
      { label: '$(edit) Something else that pip takes...', description: 'such as git+https://...', id: 'other' },
    ],
    { title: 'dlsp: install from', placeHolder: 'Where does the server come from?' },
  );
  if (!choice) {
    return undefined;
  }
  if (choice.id === 'other') {
    return (await vscode.window.showInputBox({ title: 'dlsp: install from', prompt: 'A requirement as pip takes it', ignoreFocusOut: true }))?.trim();
  }
  const folder = choice.id === 'folder';
  const chosen = await vscode.window.showOpenDialog({
    title: folder ? 'The folder of the clone' : 'The wheel',
    openLabel: 'Install This',
    canSelectFiles: !folder,
    canSelectFolders: folder,
    ...(folder ? {} : { filters: { Wheels: ['whl'] } }),
  });
  const source = chosen?.[0]?.fsPath;
  if (source && folder && !existsSync(path.join(source, 'pyproject.toml'))) {
    void vscode.window.showErrorMessage(`There is no pyproject.toml in ${source}. Choose the folder of a clone of dlsp.`);
    return undefined;
  }
  return source;
}

/** A tool on the PATH, or where its own installer puts it, which a window's PATH need not name. */
async function tool(name: string): Promise<string | undefined> {
  for (const command of [name, path.join(os.homedir(), '.local', 'bin', name)]) {
    if (await answers(command, '--version')) {
      return command;
    }
  }
  return undefined;
}

async function possibleWays(ownEnvironment: string): Promise<Way[]> {
  const ways: Way[] = [];
  const uv = await tool('uv');
  if (uv) {
    ways.push({
      label: '$(zap) uv',
      description: 'uv tool install',
      detail: 'Puts dlsp on the PATH, in an environment that uv looks after.',
      commands: (source) => [[uv, 'tool', 'install', '--force', source]],
    });
  }
  const pipx = await tool('pipx');
  if (pipx) {
    ways.push({
      label: '$(package) pipx',
      description: 'pipx install',
      detail: 'Puts dlsp on the PATH, in an environment that pipx looks after.',
      commands: (source) => [[pipx, 'install', '--force', source]],
    });
  }
  for (const python of PYTHONS) {
    if (await answers(python, '-c', NEW_ENOUGH)) {
      const inside = path.join(ownEnvironment, process.platform === 'win32' ? 'Scripts' : 'bin', process.platform === 'win32' ? 'python.exe' : 'python');
      ways.push({
        label: '$(vm) An environment of its own',
        description: `${python} -m venv, pip install`,
        detail: `For this extension only, in ${ownEnvironment}.`,
        commands: (source) => [
          [python, '-m', 'venv', '--clear', ownEnvironment],
          [inside, '-m', 'pip', 'install', '--disable-pip-version-check', source],
        ],
      });
      break;
    }
  }
  return ways;
}
