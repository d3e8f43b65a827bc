/**
 * The life of the server: looked for, started, watched, started again after a pause that grows, and given up on with a sentence.
 * Knows where the program may be asked for and nothing of what is done with it.
 */
import * as os from 'node:os';
import * as vscode from 'vscode';
import { makeClient, type Client } from './client';
import { find, type Found, type Search } from './find';
import { install } from './install';
import type { Life, Report } from './report';
import { own } from './settings';

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** So many failures in a row, and it is left to the user. */
const MOST_FAILURES = 6;
/** A server that ran for so long was all right: the next failure is the first. */
const WELL_MS = 60_000;
const STOP_MS = 3000;
/** Generous, because the first start after an update compiles everything. */
const START_MS = 90_000;
const NOT_YET: ReadonlySet<Report['state']> = new Set(['starting', 'loading', 'downloading', 'error']);
const ON_ITS_WAY: ReadonlySet<Life['at']> = new Set(['looking', 'starting', 'waiting']);
const PYTHON_MS = 5000;
const NEVER_OFFER = 'neverOfferToInstall';

interface PythonApi {
  readonly environments?: { getActiveEnvironmentPath(folder?: vscode.Uri): { path: string } | undefined };
}

export class Server implements vscode.Disposable {
  life: Life = { at: 'looking' };
  report: Report | undefined;
  /** The running client; none while there is no server to talk to. */
  client: Client | undefined;
  private starting: Client | undefined;

  private readonly changes = new vscode.EventEmitter<void>();
  readonly onDidChange = this.changes.event;
  /** Grows with every start and stop; what belongs to an earlier one finds that out by it. */
  private run = 0;
  private failures = 0;
  private pause: NodeJS.Timeout | undefined;
  private stopping: Promise<void> = Promise.resolve();

  /** What other commands of the program say, word for word: it is no log, so no level keeps it back. */
  readonly said = vscode.window.createOutputChannel('dlsp commands');

  constructor(
    private readonly context: vscode.ExtensionContext,
    readonly log: vscode.LogOutputChannel,
    private readonly connected: (client: Client) => void,
    private readonly loaded: (client: Client) => void,
  ) {}

  get ownEnvironment(): string {
    return vscode.Uri.joinPath(this.context.globalStorageUri, 'server').fsPath;
  }

  /** The program that was found, if one was. */
  get command(): string | undefined {
    return 'command' in this.life ? this.life.command : this.lastCommand;
  }
  private lastCommand: string | undefined;

  /** Look for the server and start it. `asked`: by the user, who wants to hear of failures and has it tried anew. */
  async start(asked = false): Promise<void> {
    const run = ++this.run;
    clearTimeout(this.pause);
    if (asked) {
      this.failures = 0;
    }
    this.become({ at: 'looking' });
    await this.end();
    if (run !== this.run) {
      return;
    }
    const search = await find(this.surroundings());
    if (run !== this.run) {
      return;
    }
    if (!search.found) {
      this.missing(search, asked);
      return;
    }
    await this.launch(search.found, run);
  }

  /** The client, once there is one; none after the user was told why there is not. */
  async ready(): Promise<Client | undefined> {
    if (ON_ITS_WAY.has(this.life.at)) {
      await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title: 'dlsp starts' }, () => this.settled());
    }
    if (!this.client) {
      const problem = 'problem' in this.life ? this.life.problem : 'The server is still being started.';
      const menu = 'Show Menu';
      void vscode.window.showInformationMessage(`dlsp: ${problem}`, menu).then((answer) => {
        if (answer === menu) {
          void vscode.commands.executeCommand('dlsp.menu');
        }
      });
    }
    return this.client;
  }

  /** Until the server runs or is known not to, or has taken too long. */
  private async settled(): Promise<void> {
    let watch: vscode.Disposable | undefined;
    const change = new Promise<void>((resolve) => {
      watch = this.onDidChange(() => ON_ITS_WAY.has(this.life.at) || resolve());
    });
    await inTime(change, START_MS, '').catch(() => {});
    watch?.dispose();
  }

  /** Ask the user what to do about a missing server, and start what there is afterwards. */
  async install(): Promise<void> {
    if (await install(this.ownEnvironment, this.log)) {
      await this.start(true);
    }
  }

  /** End the server, for good or until the next start. */
  async stop(): Promise<void> {
    this.run++;
    clearTimeout(this.pause);
    await this.end();
  }

  dispose(): void {
    void this.stop();
    this.changes.dispose();
    this.said.dispose();
  }

  private async launch(found: Found, run: number): Promise<void> {
    this.lastCommand = found.command;
    this.become({ at: 'starting', command: found.command });
    this.log.info(`Starting ${found.command} (${found.where}).`);
    const began = Date.now();
    const client = makeClient(found.command, this.log, () => void this.fell(run, client, began, 'The server has ended.'));
    client.onNotification('dlsp/status', (report: Report) => {
      if (run === this.run) {
        const fresh = !NOT_YET.has(report.state) && (!this.report || NOT_YET.has(this.report.state));
        this.report = report;
        this.changes.fire();
        if (fresh) {
          this.loaded(client);
        }
      }
    });
    this.starting = client;
    try {
      await inTime(client.start(), START_MS, `it has not answered for ${START_MS / 1000} seconds`);
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      await this.fell(run, client, began, `${found.command} could not be started: ${said.replace(/\.$/, '')}.`);
      return;
    }
    if (run !== this.run) {
      return;
    }
    this.starting = undefined;
    this.client = client;
    const version = client.initializeResult?.serverInfo?.version ?? '';
    this.become({ at: 'running', command: found.command, where: found.where, version });
    this.log.info(`The server runs${version ? `, version ${version}` : ''}.`);
    this.connected(client);
  }

  /** The server is gone, without having been told to. */
  private async fell(run: number, client: Client, began: number, problem: string): Promise<void> {
    if (run !== this.run) {
      return;
    }
    // What else comes of this end is no news.
    const next = ++this.run;
    this.client = this.starting = undefined;
    this.report = undefined;
    this.stopping = putAway(client);
    this.failures = Date.now() - began >= WELL_MS ? 1 : this.failures + 1;
    problem = (await client.lastWords()) || problem;
    if (next !== this.run) {
      return;
    }
    this.log.warn(`${problem} (${this.failures} of at most ${MOST_FAILURES} times in a row)`);
    if (this.failures >= MOST_FAILURES) {
      this.giveUp(problem);
      return;
    }
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (this.failures - 1), LONGEST_PAUSE_MS);
    this.become({ at: 'waiting', untilMs: Date.now() + pause, problem });
    this.pause = setTimeout(() => {
      if (next === this.run) {
        void this.start();
      }
    }, pause);
  }

  private giveUp(problem: string): void {
    this.become({ at: 'failed', problem });
    const choices = { Restart: 'dlsp.restart', 'Show Log': 'dlsp.showLog', 'Run Doctor': 'dlsp.doctor' } as const;
    const names = Object.keys(choices) as (keyof typeof choices)[];
    void vscode.window.showErrorMessage(`dlsp: ${problem} It has failed ${this.failures} times and is left alone now.`, ...names).then((answer) => {
      if (answer) {
        void vscode.commands.executeCommand(choices[answer]);
      }
    });
  }

  private missing(search: Search, asked: boolean): void {
    const elsewhere = vscode.workspace.isTrusted ? '' : ' This folder is not trusted, so nothing in it was considered.';
    const problem = (search.problem ?? 'The program dlsp, which this extension talks to, was not found.') + elsewhere;
    this.become({ at: 'missing', problem, looked: search.looked });
    this.log.warn(`${problem} Looked at: ${search.looked.join('; ')}.`);
    if (!asked && this.context.globalState.get(NEVER_OFFER)) {
      return;
    }
    const get = 'Install or Find It...';
    const never = 'Do Not Ask Again';
    void vscode.window.showWarningMessage(`dlsp: ${problem}`, get, 'Show Log', ...(asked ? [] : [never])).then((answer) => {
      if (answer === get) {
        void this.install();
      } else if (answer === 'Show Log') {
        this.log.show();
      } else if (answer === never) {
        void this.context.globalState.update(NEVER_OFFER, true);
      }
    });
  }

  private async end(): Promise<void> {
    const client = this.client ?? this.starting;
    this.client = this.starting = undefined;
    this.report = undefined;
    if (client) {
      this.stopping = putAway(client);
    }
    await this.stopping;
  }

  private become(life: Life): void {
    this.life = life;
    void vscode.commands.executeCommand('setContext', 'dlsp.running', life.at === 'running');
    this.changes.fire();
  }

  private surroundings(): Parameters<typeof find>[0] {
    return {
      serverPath: own('serverPath'),
      trusted: vscode.workspace.isTrusted,
      folders: (vscode.workspace.workspaceFolders ?? []).filter((each) => each.uri.scheme === 'file').map((each) => each.uri.fsPath),
      home: os.homedir(),
      ownEnvironment: this.ownEnvironment,
      env: process.env,
      windows: process.platform === 'win32',
      interpreter,
    };
  }
}

/** The interpreter that the user chose in the Python extension, if that is there and answers. */
async function interpreter(): Promise<string | undefined> {
  const extension = vscode.extensions.getExtension<PythonApi>('ms-python.python');
  if (!extension) {
    return undefined;
  }
  const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), PYTHON_MS));
  try {
    const api = await Promise.race([extension.activate(), late]);
    return api?.environments?.getActiveEnvironmentPath(vscode.workspace.workspaceFolders?.[0]?.uri)?.path;
  } catch {
    // Another extension's trouble; the search goes on without it.
    return undefined;
  }
}

/** Stop a client and take away what it registered, whatever state it is in. */
async function putAway(client: Client): Promise<void> {
  try {
    await client.dispose(STOP_MS);
  } catch {
    // It never got so far as to be told, or it does not listen.
    client.kill();
  }
}

/** A promise that fails when it takes too long. */
async function inTime<T>(work: Promise<T>, ms: number, sentence: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(sentence)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
