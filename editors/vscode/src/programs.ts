/**
 * Other programs, run for the user: their output goes to the log, they can be cancelled, and no shell reads their arguments.
 */
import { spawn } from 'node:child_process';
import * as os from 'node:os';
import * as vscode from 'vscode';

export interface Outcome {
  readonly code: number;
  readonly output: string;
}

const MOST_CHARACTERS = 1_000_000;

/**
 * Run a program to its end; `say` gets every line it writes. A program that cannot be started has the code -1, one that was
 * cancelled -2. It runs in the home folder, so that nothing of a workspace gets in its way.
 */
export function run(
  command: string,
  args: readonly string[],
  say: (line: string) => void = () => {},
  token?: vscode.CancellationToken,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: os.homedir(),
      env: { ...process.env, NO_COLOR: '1', PYTHONUTF8: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
    });
    let output = '';
    let rest = '';
    const end = (code: number) => {
      cancelling?.dispose();
      if (rest) {
        say(rest);
        rest = '';
      }
      resolve({ code, output });
    };
    const cancelling = token?.onCancellationRequested(() => {
      child.kill();
      end(-2);
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-MOST_CHARACTERS);
      hear(text);
    });
    child.stderr.setEncoding('utf8').on('data', hear);
    child.on('error', (error) => {
      say(`${command}: ${error.message}`);
      end(-1);
    });
    child.on('close', (code) => end(code ?? -2));

    function hear(text: string): void {
      const lines = (rest + text).split(/\r?\n/);
      rest = lines.pop() ?? '';
      lines.forEach((line) => say(line));
    }
  });
}

/** Whether a program is there and runs. */
export async function answers(command: string, ...args: string[]): Promise<boolean> {
  return (await run(command, args)).code === 0;
}
