/**
 * The connection to one server process: which documents it hears of, which settings it is told, and how its log lines are shown.
 * What is shown in the editor is the client library's work.
 */
import * as os from 'node:os';
import { createInterface } from 'node:readline';
import * as vscode from 'vscode';
import {
  CloseAction,
  ErrorAction,
  InlineCompletionRequest,
  InlineCompletionTriggerKind,
  LanguageClient,
  RevealOutputChannelOn,
  type DynamicFeature,
  type LanguageClientOptions,
  type StaticFeature,
} from 'vscode-languageclient/node';
import { popupWanted, SECTION, serverSettings } from './settings';

/** Documents that a person writes. The server knows further ones that it leaves alone. */
const DOCUMENTS = [{ scheme: 'file' }, { scheme: 'untitled' }, { scheme: 'vscode-notebook-cell' }];
const LOG_LINE = /^\S+ \S+ \d+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)$/;

/** What is said when ghost text went to the editor. */
export type Given = (items: readonly vscode.InlineCompletionItem[], document: vscode.TextDocument, position: vscode.Position) => void;

class Client extends LanguageClient {
  given: Given = () => {};
  /** The next request for ghost text is nobody's wish but ours, so it may be answered with nothing. */
  unasked = false;

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
        createInterface({ input, crlfDelay: Infinity, terminal: false }).on('line', (line) => logLine(log, line));
      },
    },
    middleware: {
      workspace: {
        configuration: (params, token, next) => {
          if (params.items.every((item) => item.section === SECTION)) {
            return params.items.map(() => serverSettings());
          }
          return next(params, token);
        },
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

function indentation(document: vscode.TextDocument): object {
  const editor = vscode.window.visibleTextEditors.find((each) => each.document === document);
  const { tabSize, insertSpaces } = editor?.options ?? {};
  return typeof tabSize === 'number' && typeof insertSpaces === 'boolean' ? { formattingOptions: { tabSize, insertSpaces } } : {};
}

/** A line of the server's log, at its own level. */
function logLine(log: vscode.LogOutputChannel, line: string): void {
  const [, level, text] = LOG_LINE.exec(line) ?? [];
  switch (level) {
    case 'DEBUG':
      return log.debug(text ?? '');
    case 'WARNING':
      return log.warn(text ?? '');
    case 'ERROR':
    case 'CRITICAL':
      return log.error(text ?? '');
    default:
      return log.info(text ?? line);
  }
}
