/**
 * Where the program `dlsp` is: the setting, the workspace's Python environment, the PATH, the places of uv and pipx, and our own
 * environment. Knows the file system and nothing of the editor; of a folder that is not trusted nothing is ever named.
 */
import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import * as path from 'node:path';

/** All that the search depends on. `interpreter` is asked late, because another extension may have to be started for it. */
export interface Surroundings {
  readonly serverPath: string;
  readonly trusted: boolean;
  readonly folders: readonly string[];
  readonly home: string;
  readonly ownEnvironment: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly windows: boolean;
  readonly interpreter: () => Promise<string | undefined>;
}

export interface Found {
  readonly command: string;
  /** For people: where it was found. */
  readonly where: string;
}

export interface Search {
  readonly found?: Found;
  /** Where there was nothing, for people. */
  readonly looked: readonly string[];
  /** One sentence if the setting names something that cannot be started. */
  readonly problem?: string;
}

/** Look for the program, in the order in which a user would expect one to win over the other. */
export async function find(around: Surroundings): Promise<Search> {
  if (around.serverPath) {
    const named = expanded(around.serverPath, around);
    for (const candidate of [named, ...inEnvironment(named, around.windows), path.join(named, program(around.windows))]) {
      if (path.isAbsolute(candidate) && (await usable(candidate, around))) {
        return { found: { command: candidate, where: 'the setting `dlsp.serverPath`' }, looked: [] };
      }
    }
    // Somebody wanted this one; another one in its place would be a surprise.
    return { looked: [named], problem: `The setting dlsp.serverPath names ${named}, which is not a program that can be started.` };
  }
  const looked: string[] = [];
  for await (const { command, where } of candidates(around)) {
    if (await usable(command, around)) {
      return { found: { command, where }, looked };
    }
    if (!looked.includes(where)) {
      looked.push(where);
    }
  }
  return { looked };
}

async function* candidates(around: Surroundings): AsyncGenerator<Found> {
  const { env, home, windows } = around;
  const environment = (folder: string, where: string): Found[] =>
    inEnvironment(folder, windows).map((command) => ({ command, where }));
  if (around.trusted) {
    for (const folder of around.folders) {
      for (const name of ['.venv', 'venv', 'env', path.join('.pixi', 'envs', 'default')]) {
        yield* environment(path.join(folder, name), "the workspace's Python environment");
      }
    }
    const interpreter = await around.interpreter();
    if (interpreter) {
      // Conda on Windows has python.exe beside the folder of the scripts, everybody else within it.
      yield { command: path.join(path.dirname(interpreter), program(windows)), where: 'the selected Python environment' };
      yield* environment(path.dirname(interpreter), 'the selected Python environment');
    }
  }
  for (const name of ['VIRTUAL_ENV', 'CONDA_PREFIX']) {
    if (env[name]) {
      yield* environment(env[name], `the active environment (${name})`);
    }
  }
  for (const folder of (env['PATH'] ?? env['Path'] ?? '').split(windows ? ';' : ':')) {
    // A relative entry would mean a folder that the user may not even know of.
    if (path.isAbsolute(folder)) {
      yield { command: path.join(folder, program(windows)), where: 'the PATH' };
    }
  }
  const data = env['XDG_DATA_HOME'] ?? path.join(home, '.local', 'share');
  const roaming = env['APPDATA'] ?? path.join(home, 'AppData', 'Roaming');
  const local = env['LOCALAPPDATA'] ?? path.join(home, 'AppData', 'Local');
  for (const bin of [env['UV_TOOL_BIN_DIR'], env['XDG_BIN_HOME'], env['PIPX_BIN_DIR'], path.join(home, '.local', 'bin')]) {
    if (bin) {
      yield { command: path.join(bin, program(windows)), where: 'where uv and pipx put programs' };
    }
  }
  const tools = [
    env['UV_TOOL_DIR'] ?? (windows ? path.join(roaming, 'uv', 'data', 'tools') : path.join(data, 'uv', 'tools')),
    ...(windows ? [path.join(roaming, 'uv', 'tools')] : []),
    path.join(env['PIPX_HOME'] ?? path.join(data, 'pipx'), 'venvs'),
    path.join(home, '.local', 'pipx', 'venvs'),
    ...(windows ? [path.join(local, 'pipx', 'pipx', 'venvs'), path.join(home, 'pipx', 'venvs')] : []),
  ];
  for (const folder of tools) {
    yield* environment(path.join(folder, 'dlsp'), 'the tools of uv and pipx');
  }
  yield* environment(around.ownEnvironment, "the extension's own environment");
}

/** Whether something can be started and may be: in a folder that is not trusted nothing may, wherever links lead. */
async function usable(candidate: string, around: Surroundings): Promise<boolean> {
  try {
    if (!(await stat(candidate)).isFile()) {
      return false;
    }
    await access(candidate, constants.X_OK);
    if (around.trusted) {
      return true;
    }
    const real = await realpath(candidate);
    const folders = await Promise.all(around.folders.map((folder) => realpath(folder).catch(() => folder)));
    return ![...folders, ...around.folders].some((folder) => within(real, folder) || within(candidate, folder));
  } catch {
    // Not there, or not ours to look at: the next one.
    return false;
  }
}

function within(inner: string, folder: string): boolean {
  const way = path.relative(folder, inner);
  return way === '' || (!way.startsWith('..') && !path.isAbsolute(way));
}

function expanded(value: string, around: Surroundings): string {
  let out = value === '~' || /^~[/\\]/.test(value) ? around.home + value.slice(1) : value;
  const folder = around.folders[0];
  if (folder !== undefined) {
    out = out.replaceAll('${workspaceFolder}', folder);
  }
  out = out.replaceAll('${userHome}', around.home);
  return path.normalize(out);
}

function inEnvironment(folder: string, windows: boolean): string[] {
  return [path.join(folder, windows ? 'Scripts' : 'bin', program(windows))];
}

function program(windows: boolean): string {
  return windows ? 'dlsp.exe' : 'dlsp';
}
