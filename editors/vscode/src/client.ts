/**
 * The connection to one server process: which documents it hears of, which settings it is told, and how its log lines are shown.
 * What is shown in the editor is the client library's work.
 */
import type { ChildProcess } from 'node:child_process';
import * as os from 'node:os';
import { createInterface } from 'node:readline';
import * as vscode from 'vscode';
import {
  CloseAction,
  ConnectionError,
  ErrorAction,
  ErrorCodes,
  InlineCompletionRequest,
  InlineCompletionTriggerKind,
  LanguageClient,
  ResponseError,
  RevealOutputChannelOn,
  type DynamicFeature,
  type LanguageClientOptions,
  type MessageTransports,
  type StaticFeature,
} from 'vscode-languageclient/node';
import { popupWanted, SECTION, serverSettings } from './settings';

/** Documents that a person writes. The server knows further ones that it leaves alone. */
const DOCUMENTS = [{ scheme: 'file' }, { scheme: 'untitled' }, { scheme: 'vscode-notebook-cell' }];
/** How long the last words of a program that ends may take to get here. */
const LAST_WORDS_MS = 1000;
const LONGEST_WORDS = 200;
const LOG_LINE = /^\S+ \S+ \d+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)$/;

/** What is said when ghost text went to the editor. */
export type Given = (items: readonly vscode.InlineCompletionItem[], document: vscode.TextDocument, position: vscode.Position) => void;

class Client extends LanguageClient {
  given: Given = () => {};
  /** The next request for ghost text is nobody's wish but ours, so it may be answered with nothing. */
  unasked = false;
  /** The last thing the program wrote that was no line of its log, such as the end of a traceback. */
  said = '';
  private program: ChildProcess | undefined;
  private ended: Promise<unknown> = Promise.resolve();
  private unwanted = false;

  /** End the program, even one that is only just being started. */
  kill(): void {
    this.unwanted = true;
    this.program?.kill();
  }

  /** How the program ended, in a sentence; "" if it still runs or never did. */
  async lastWords(): Promise<string> {
    await Promise.race([this.ended, new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS))]);
    const { exitCode, signalCode, spawnfile } = this.program ?? {};
    const how = typeof exitCode === 'number' ? `status ${exitCode}` : signalCode;
    const said = this.said.slice(0, LONGEST_WORDS).replace(/\.$/, '');
    return how ? `${spawnfile} ended with ${how}${said ? `: ${said}` : ''}.` : '';
  }

  /** What is wrong with the connection is told in one place, which is not the library; it only goes to the log. */
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  /** A program that went before it could be asked is told of elsewhere, like one that went before it answered. */
  override handleFailedRequest<T>(...[type, token, error, otherwise, ...rest]: Parameters<LanguageClient['handleFailedRequest']>): T {
    const unsent = error instanceof ConnectionError || (error instanceof ResponseError && error.code === ErrorCodes.MessageWriteError);
    return unsent ? (otherwise as T) : (super.handleFailedRequest(type, token, error, otherwise, ...rest) as T);
  }

  protected override async createMessageTransports(encoding: string): Promise<MessageTransports> {
    const transports = await super.createMessageTransports(encoding);
    const program = (this.program = this.serverProcess);
    if (program) {
      this.ended = new Promise((resolve) => program.once('close', resolve));
      if (this.unwanted) {
        program.kill();
      }
    }
    return transports;
  }

  /**
   * The server's commands are ours, with arguments from the editor; registered as they are they would clash with ours. And beside
   * ghost text the popup stays empty unless the user wants it otherwise: then the server need not be asked at every letter.
   */
  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    const method = 'registrationType' in feature ? feature.registrationType.method : '';
    if (method === 'workspace/executeCommand' || (method === 'textDocument/completion' && !popupWanted())) {
      return;
    }
    super.registerFeature(feature);
  }
}

/** A client for a program; `ended` is called once when the connection closes without our having asked for it. */
export function makeClient(command: string, log: vscode.LogOutputChannel, ended: () => void): Client {
  const options: LanguageClientOptions = {
    documentSelector: DOCUMENTS,
    outputChannel: log,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    progressOnInitialization: false,
    initializationFailedHandler: () => false,
    // When to start again, and when not any more, is decided in one place, which is not the library.
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        ended();
        return { action: CloseAction.DoNotRestart, handled: true, message: 'The connection to the server is closed.' };
      },
    },
    stdioOptions: {
      stdout: () => {},
      stderr: (input: NodeJS.ReadableStream) => {
        createInterface({ input, crlfDelay: Infinity, terminal: false }).on('line', (line) => {
          if (!logLine(log, line) && line.trim()) {
            client.said = line.trim();
          }
        });
      },
    },
    middleware: {
      sendNotification: async (type, next, params) => {
        try {
          await next(type, params);
        } catch {
          // The program is gone, which the handler above hears. Nobody in the library takes care of such an error.
        }
      },
      workspace: {
        configuration: (params, token, next) => {
          if (params.items.every((item) => item.section === SECTION)) {
            return params.items.map(() => serverSettings());
          }
          return next(params, token);
        },
      },
      resolveCodeAction: async (action, token, next) => {
        try {
          return await next(action, token);
        } catch (error) {
          // The editor keeps silent about it, and somebody who chose an action waits for something to happen.
          if (!token.isCancellationRequested) {
            void vscode.window.showInformationMessage(`dlsp: ${error instanceof Error ? error.message : String(error)}`);
          }
          throw error;
        }
      },
      provideInlineCompletionItems: async (document, position, context, token) => {
        // The library's own request does not say how the editor indents.
        const params = { ...client.code2ProtocolConverter.asInlineCompletionParams(document, position, context), ...indentation(document) };
        if (client.unasked) {
          client.unasked = false;
          params.context.triggerKind = InlineCompletionTriggerKind.Automatic;
        }
        let found: vscode.InlineCompletionItem[] | vscode.InlineCompletionList | undefined;
        try {
          const result = await client.sendRequest(InlineCompletionRequest.type, params, token);
          found = token.isCancellationRequested ? undefined : await client.protocol2CodeConverter.asInlineCompletionResult(result, token);
        } catch (error) {
          return client.handleFailedRequest(InlineCompletionRequest.type, token, error, undefined);
        }
        client.given(Array.isArray(found) ? found : (found?.items ?? []), document, position);
        return found;
      },
    },
  };
  // In the home folder, so that nothing in a workspace gets in the way of the program's own files.
  const client = new Client(SECTION, 'dlsp', { command, args: ['serve', '--stdio'], options: { cwd: os.homedir() } }, options);
  return client;
}

export type { Client };

/** The editor a person writes in; the one behind, if it is the log or the like that has the focus. */
export function editorInUse(): vscode.TextEditor | undefined {
  const ours = (editor: vscode.TextEditor | undefined) => DOCUMENTS.some(({ scheme }) => scheme === editor?.document.uri.scheme);
  const active = vscode.window.activeTextEditor;
  return ours(active) ? active : vscode.window.visibleTextEditors.find(ours);
}

/** How the editor of a document indents, as the server reads it. */
export function indentation(document: vscode.TextDocument): object {
  const editor = vscode.window.visibleTextEditors.find((each) => each.document === document);
  const { tabSize, insertSpaces } = editor?.options ?? {};
  return typeof tabSize === 'number' && typeof insertSpaces === 'boolean' ? { formattingOptions: { tabSize, insertSpaces } } : {};
}

/** A line of the server's log, at its own level; false if it is none. */
function logLine(log: vscode.LogOutputChannel, line: string): boolean {
  const [, level, text = line] = LOG_LINE.exec(line) ?? [];
  switch (level) {
    case 'DEBUG':
      log.debug(text);
      break;
    case 'WARNING':
      log.warn(text);
      break;
    case 'ERROR':
    case 'CRITICAL':
      log.error(text);
      break;
    default:
      log.info(text);
  }
  return level !== undefined;
}
