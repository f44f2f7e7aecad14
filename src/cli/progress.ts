// What a run shows of itself while it works, on standard error: on a terminal one live line that fits its width, whatever becomes of that;
// plain lines without a terminal; JSON lines for programs; warnings only when quiet.
import type { OptimizeReport } from '../../search/optimize.js';

/** Standard error, or what stands for it in tests. */
export interface Screen {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

export interface ProgressOptions {
  readonly quiet: boolean;
  readonly logJson: boolean;
  /** As the user asked for it: `flops 50%`. */
  readonly budget: string;
  readonly timeMs?: number;
}

export interface Progress {
  show(report: OptimizeReport): void;
  /** Leaves the last live line standing. */
  end(): void;
}

export function progress(screen: Screen, { quiet, logJson, budget, timeMs }: ProgressOptions): Progress {
  const started = performance.now();
  const live = screen.isTTY === true && !quiet && !logJson;
  /** What stands on the line that is written over. */
  let shown = '';
  let whole = '';

  const fit = (text: string): string => {
    // the last column stays free: some terminals wrap when it is written
    const width = Math.max(1, (screen.columns ?? 80) - 1);
    return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
  };
  const clear = (): string => {
    if (shown === '') return '';
    // where the terminal became narrower the line lies on several rows now
    const rows = Math.max(1, Math.ceil(shown.length / Math.max(1, screen.columns ?? 80)));
    return `\r${rows > 1 ? `\u001B[${rows - 1}A` : ''}\u001B[J`;
  };
  const draw = (text: string): void => {
    const before = clear();
    whole = text;
    shown = fit(text);
    screen.write(`${before}${shown}`);
  };
  const line = (text: string): void => {
    const before = clear();
    const again = whole;
    shown = '';
    screen.write(`${before}${text}\n`);
    if (live && again !== '') draw(again);
  };
  const resized = (): void => {
    if (whole !== '') draw(whole);
  };
  if (live) screen.on?.('resize', resized);

  return {
    show(report) {
      if (logJson) {
        const seconds = Math.round((performance.now() - started) / 100) / 10;
        screen.write(`${JSON.stringify({ time: new Date().toISOString(), seconds, ...report })}\n`);
        return;
      }
      if (report.warning !== undefined) {
        line(`pare: warning: ${report.warning}`);
        return;
      }
      if (quiet) return;
      const spent = performance.now() - started;
      const left = timeMs === undefined ? '' : `, ${clock(Math.max(0, timeMs - spent))} left`;
      const text = `[${clock(spent)}${left}] ${sentence(report, budget)}`;
      const passing = report.stage === 'seeds' || report.stage === 'generation' || report.stage === 'measured';
      if (live && passing) draw(text);
      else line(text);
    },
    end() {
      screen.off?.('resize', resized);
      if (shown !== '') screen.write('\n');
      shown = '';
      whole = '';
    },
  };
}

/** Minutes and seconds. */
export function clock(ms: number): string {
  const s = Math.round(ms / 1000);
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
}

function sentence(r: OptimizeReport, budget: string): string {
  if (r.text !== undefined)
    return r.stage === 'finish' && r.of !== undefined ? `${r.measured}/${r.of} ${r.text}` : r.text;
  const best =
    r.best === undefined
      ? `nothing within the budget yet (${budget})`
      : `best ${r.best.score.toFixed(4)} at ${(100 * r.best.share).toFixed(1)} % (budget ${budget}, original ${r.original?.score.toFixed(4)})`;
  const what = r.stage === 'generation' ? `generation ${r.generation}` : 'measured';
  return `${what}: ${r.measured}/${r.of} measured, ${best}, ${r.scored} scored, hypervolume ${r.hypervolume?.toFixed(4)}`;
}
