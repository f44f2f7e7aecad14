// The Runtime in a process of its own, for networks that nothing is known of: a crash of native code, a run without end and a
// memory that grows without bound end the process and become one sentence. (A thread would contain none of these.)
import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { PareError } from '../errors.js';
import { entryFile } from './entry.js';
import type { LoadOptions, ModelSource, Runtime, RuntimeTensor, Session } from './runtime.js';
import { valueOf, type Loaded, type Reply, type Request } from './serve.js';
import { withFileOrBytes } from './source.js';

export interface IsolatedOptions {
  /** For one load or run, ms (60,000). */
  readonly deadlineMs?: number;
  /** Resident memory of the process (8 GiB); watched where /proc tells it (Linux). */
  readonly maxBytes?: number;
}

/** Starts a process at the first load, and again after it has ended. */
export function isolatedRuntime(options: IsolatedOptions = {}): Runtime {
  let child: ChildProcess | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let sessions = 0;

  const start = (): ChildProcess => {
    // advanced: Maps and typed arrays go through
    const fresh = fork(entryFile('child'), [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    fresh.on('exit', () => {
      if (child === fresh) child = undefined;
    });
    return fresh;
  };
  /** One request at a time: a deadline then belongs to one request. */
  const ask = (label: string, request: Request, fresh: boolean): Promise<unknown> => {
    const result = last.then(() => {
      if (child === undefined && !fresh) throw new PareError(`${label}: the process that ran it has ended`);
      child ??= start();
      return exchange(child, label, request, options);
    });
    last = result.catch(() => undefined);
    return result;
  };

  const load = (model: ModelSource, loadOptions: LoadOptions = {}): Promise<Session> =>
    withFileOrBytes(model, async (source) => {
      const key = sessions++;
      const label = loadOptions.label ?? (typeof model === 'string' ? `"${model}"` : 'the model');
      // the cast: serve.ts answers `load` with Loaded
      const loaded = (await ask(
        label,
        { op: 'load', key, source, options: { ...loadOptions, label } },
        true,
      )) as Loaded;
      return {
        ...loaded,
        run: async (feeds, outputs) =>
          // the cast: serve.ts answers `run` with what Session.run gives
          (await ask(label, { op: 'run', key, feeds, outputs }, false)) as ReadonlyMap<string, RuntimeTensor>,
        release: async () => {
          await last;
          if (child !== undefined) await ask(label, { op: 'release', key }, false);
        },
      };
    });

  return {
    name: 'onnxruntime',
    concurrency: 1,
    load,
    close: async () => {
      await last;
      const running = child;
      child = undefined;
      if (running === undefined || running.exitCode !== null) return;
      await new Promise<void>((resolve) => {
        running.once('exit', () => resolve());
        running.kill('SIGKILL');
      });
    },
  };
}

function exchange(child: ChildProcess, label: string, request: Request, options: IsolatedOptions): Promise<unknown> {
  const { deadlineMs = 60_000, maxBytes = 8 * 2 ** 30 } = options;
  const what = request.op === 'load' ? 'loading' : 'running';
  return new Promise((resolve, reject) => {
    let verdict: string | undefined;
    const end = (why: string): void => {
      verdict = why;
      child.kill('SIGKILL');
    };
    const deadline = setTimeout(() => end(`${what} it took longer than ${deadlineMs} ms and was stopped`), deadlineMs);
    const watch = setInterval(() => {
      const bytes = residentBytes(child.pid);
      if (bytes > maxBytes) end(`${what} it took more than ${Math.round(maxBytes / 2 ** 20)} MiB and was stopped`);
    }, 50);
    const settle = (): void => {
      clearTimeout(deadline);
      clearInterval(watch);
      child.off('message', answered);
      child.off('exit', ended);
      child.off('error', failed);
    };
    const answered = (reply: Reply): void => {
      settle();
      try {
        resolve(valueOf(reply));
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    };
    const ended = (code: number | null, signal: string | null): void => {
      settle();
      reject(
        new PareError(
          `${label}: ${verdict ?? `onnxruntime crashed (${signal ?? `exit code ${code}`}) while ${what} it`}`,
        ),
      );
    };
    const failed = (error: Error): void => {
      settle();
      reject(error);
    };
    child.on('message', answered);
    child.on('exit', ended);
    child.on('error', failed);
    child.send(request);
  });
}

/** 0 where the system does not tell. */
function residentBytes(pid: number | undefined): number {
  if (pid === undefined || process.platform !== 'linux') return 0;
  try {
    // the second number is the resident set in pages of 4 KiB
    return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096;
  } catch {
    return 0;
  }
}
