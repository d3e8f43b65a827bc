/**
 * What the server reports with `dlsp/status`, and how it reads in the status bar. Plain functions from a report to texts.
 */

/** One report, as the server sends it. */
export interface Report {
  readonly state: 'starting' | 'loading' | 'downloading' | 'ready' | 'busy' | 'idle' | 'error';
  readonly reason: string;
  readonly explanation: string;
  readonly message: string;
  readonly model: string;
  readonly device: string;
  readonly backend: string;
  readonly latencyMs: number;
  readonly progress: number;
  readonly enabled: boolean;
  readonly language: string;
  readonly snoozedUntilMs: number;
  readonly reasons: Readonly<Record<string, number>>;
}

/** What the life of the server is at, without the server's help. */
export type Life =
  | { readonly at: 'looking' }
  | { readonly at: 'missing'; readonly problem: string; readonly looked: readonly string[] }
  | { readonly at: 'starting'; readonly command: string }
  | { readonly at: 'running'; readonly command: string; readonly where: string; readonly version: string }
  | { readonly at: 'waiting'; readonly untilMs: number; readonly problem: string }
  | { readonly at: 'failed'; readonly problem: string };

export interface Look {
  readonly text: string;
  readonly severity: 'none' | 'warning' | 'error';
  /** Lines of Markdown. */
  readonly tooltip: readonly string[];
}

/** Reasons that only mean that the user went on writing; to show them would make the item flicker. */
const PASSING = new Set(['debounced', 'superseded', 'moved', 'cancelled', 'undo', 'loading', 'starting', 'inline_client']);

/** How things look in the status bar. */
export function look(life: Life, report: Report | undefined): Look {
  switch (life.at) {
    case 'looking':
    case 'starting':
      return { text: '$(loading~spin) dlsp starts', severity: 'none', tooltip: ['The server is being started.'] };
    case 'missing':
      return { text: '$(warning) dlsp not found', severity: 'warning', tooltip: [life.problem, 'Click to install it or to say where it is.'] };
    case 'waiting':
      return { text: '$(sync) dlsp restarts', severity: 'warning', tooltip: [life.problem, 'It is started again in a moment.'] };
    case 'failed':
      return { text: '$(error) dlsp failed', severity: 'error', tooltip: [life.problem, 'Click for the log, the doctor, and to start it again.'] };
    case 'running':
      return report ? running(report) : { text: '$(loading~spin) dlsp starts', severity: 'none', tooltip: ['The server is being started.'] };
  }
}

/** Why nothing was shown, in words, or "" if there is nothing to say. */
export function lastEmpty(report: Report): string {
  return report.reason && report.state !== 'error' && !PASSING.has(report.reason) ? report.message || report.explanation : '';
}

export function snoozed(report: Report, now = Date.now()): boolean {
  return report.snoozedUntilMs > now;
}

export function clock(ms: number): string {
  return new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

function running(report: Report): Look {
  const tooltip = facts(report);
  const model = report.model || 'dlsp';
  const named = model === 'dlsp' ? 'dlsp' : `dlsp ${model}`;
  switch (report.state) {
    case 'error':
      return { text: '$(error) dlsp', severity: 'error', tooltip: [report.message || report.explanation, ...tooltip] };
    case 'starting':
    case 'loading':
    case 'downloading': {
      const share = report.progress > 0 && report.progress < 1 ? ` ${Math.round(report.progress * 100)} %` : '';
      return { text: `$(loading~spin) ${named} ${report.state}${share}`, severity: 'none', tooltip };
    }
  }
  if (snoozed(report)) {
    return { text: `$(clock) ${named} until ${clock(report.snoozedUntilMs)}`, severity: 'none', tooltip };
  }
  if (!report.enabled) {
    return { text: `$(circle-slash) ${named} off`, severity: 'none', tooltip };
  }
  if (report.state === 'idle') {
    return { text: `$(sparkle) ${named} idle`, severity: 'none', tooltip };
  }
  const latency = report.latencyMs > 0 ? ` ${latencyText(report.latencyMs)}` : '';
  return { text: `${lastEmpty(report) ? '$(info)' : '$(sparkle)'} ${named}${latency}`, severity: 'none', tooltip };
}

function facts(report: Report): string[] {
  const lines: string[] = [];
  const empty = lastEmpty(report);
  if (empty) {
    lines.push(`**Nothing was shown:** ${empty}`);
  }
  if (snoozed(report)) {
    lines.push(`Paused until ${clock(report.snoozedUntilMs)}.`);
  }
  if (!report.enabled) {
    lines.push(report.language ? `Completions are off in ${report.language}.` : 'Completions are off.');
  }
  const parts = [report.model, report.device, report.backend && report.backend !== 'local' ? report.backend : ''].filter(Boolean);
  lines.push([`Model: ${parts.join(', ') || 'not known yet'}`, `State: ${report.state}`].join('  \n'));
  if (report.latencyMs > 0) {
    lines.push(`Last answer: ${latencyText(report.latencyMs)}`);
  }
  const often = Object.entries(report.reasons)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 3);
  if (often.length) {
    lines.push(`Without text so far: ${often.map(([reason, count]) => `${reason} ${count}`).join(', ')}`);
  }
  return lines;
}

function latencyText(ms: number): string {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}
