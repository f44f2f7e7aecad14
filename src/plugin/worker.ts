// The thread between: starts the plug-ins' process, watches its time and memory, and wakes the main thread, which waits, when there is
// an answer. Trial runs in onnxruntime happen in a second process.
import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { workerData, type MessagePort } from 'node:worker_threads';
import { PareError } from '../errors.js';
import { isolatedRuntime } from '../runtime/isolated.js';
import type { BridgeReply, BridgeRequest, Call, ChildReply, ChildRequest } from './protocol.js';
import { runTrial } from './trial.js';

/** Of what a plug-in prints, the end is kept. */
const MAX_PRINTED = 4096;
/** What the process itself needs, on top of the limit. */
const OWN_BYTES = 200 * 2 ** 20;

/** Until the process has started; machines may be busy. */
const START_MS = 60_000;

interface Child {
  readonly process: ChildProcess;
  readonly printed: () => string;
  /** Why it was stopped, or how it ended; undefined while it lives. */
  ended: string | undefined;
  maxBytes: number;
  waiting: ((reply: ChildReply | undefined) => void) | undefined;
}

// the cast: bridge.ts hands over these two
const { port, signal } = workerData as { readonly port: MessagePort; readonly signal: Int32Array };

let child: Child | undefined;
let generation = 0;
let calls = 0;

function startChild(maxBytes: number): Child {
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';
  const entry = fileURLToPath(new URL('./child.js', import.meta.url));
  const started = fork(entry, [], {
    serialization: 'advanced',
    // no writing, no further processes; nothing of the environment
    execArgv: [
      `--max-old-space-size=${Math.ceil((maxBytes + OWN_BYTES) / 2 ** 20)}`,
      permission,
      '--allow-fs-read=*',
      '--allow-worker',
      '--no-warnings',
    ],
    env: {},
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let printed = '';
  for (const stream of [started.stdout, started.stderr]) {
    stream?.setEncoding('utf8');
    stream?.on('data', (text: string) => {
      printed = (printed + text).slice(-MAX_PRINTED);
    });
  }
  const made: Child = { process: started, printed: () => printed, ended: undefined, maxBytes, waiting: undefined };
  const watch = setInterval(() => {
    const bytes = residentBytes(started.pid);
    if (bytes > made.maxBytes + OWN_BYTES) {
      stop(made, `took more than ${Math.round(made.maxBytes / 2 ** 20)} MiB of memory`);
    }
  }, 20);
  const over = (why: string): void => {
    clearInterval(watch);
    made.ended ??= why;
    made.waiting?.(undefined);
  };
  started.on('exit', (code, killer) =>
    over(
      printed.includes('JavaScript heap out of memory')
        ? `took more than ${Math.round(made.maxBytes / 2 ** 20)} MiB of memory`
        : killer === null
          ? `ended the process with exit code ${code}`
          : `crashed the process (${killer})`,
    ),
  );
  started.on('error', (error) => over(`could not be run: ${error.message}`));
  // the cast: child.ts sends nothing but replies
  started.on('message', (message) => made.waiting?.(message as ChildReply));
  // when memory is short on the whole machine, this process goes first
  try {
    if (process.platform === 'linux') writeFileSync(`/proc/${started.pid}/oom_score_adj`, '1000');
  } catch {
    // it may be gone already
  }
  return made;
}

function stop(target: Child, why: string): void {
  target.ended ??= why;
  target.process.kill('SIGKILL');
}

/** The process says so with an answer that nobody asked for. */
async function isReady(target: Child): Promise<boolean> {
  const deadline = setTimeout(() => stop(target, 'did not start'), START_MS);
  const reply = await new Promise<ChildReply | undefined>((resolve) => {
    target.waiting = resolve;
  });
  clearTimeout(deadline);
  target.waiting = undefined;
  return reply !== undefined;
}

/** The answer to one call; undefined when the process ended, `ended` says why. */
async function ask(target: Child, call: Call, deadlineMs: number): Promise<ChildReply | undefined> {
  if (target.ended !== undefined) return undefined;
  const id = ++calls;
  const deadline = setTimeout(() => stop(target, `took longer than ${deadlineMs / 1000} s`), deadlineMs);
  try {
    return await new Promise((resolve) => {
      target.waiting = (reply) => {
        if (reply === undefined || reply.id === id) resolve(reply);
      };
      target.process.send({ id, call } satisfies ChildRequest, (error) => {
        if (error !== null) stop(target, 'closed the line to Pare');
      });
    });
  } finally {
    clearTimeout(deadline);
    target.waiting = undefined;
  }
}

function replyOf(target: Child, reply: ChildReply | undefined): BridgeReply {
  if (reply === undefined) {
    child = undefined;
    return { ended: target.ended ?? 'ended', printed: target.printed() };
  }
  if (reply.error !== undefined) return { error: reply.error, printed: target.printed() };
  return { value: reply.value };
}

async function serve(request: BridgeRequest): Promise<BridgeReply> {
  switch (request.kind) {
    case 'start': {
      if (child?.ended === undefined) child?.process.kill('SIGKILL');
      const target = startChild(request.maxBytes);
      child = target;
      generation++;
      if (!(await isReady(target))) return replyOf(target, undefined);
      return { value: generation };
    }
    case 'call': {
      if (child === undefined || child.ended !== undefined || request.generation !== generation) return { gone: true };
      child.maxBytes = request.maxBytes;
      const target = child;
      return replyOf(target, await ask(target, request.call, request.deadlineMs));
    }
    case 'try': {
      const { deadlineMs, maxBytes, trial } = request;
      const runtime = isolatedRuntime({ deadlineMs, maxBytes: maxBytes + OWN_BYTES });
      try {
        return { value: await runTrial(runtime, trial) };
      } catch (error) {
        const known = error instanceof Error ? error : new Error(String(error));
        return { error: { message: known.message, sentence: known instanceof PareError }, printed: '' };
      } finally {
        await runtime.close();
      }
    }
    case 'close':
      child?.process.kill('SIGKILL');
      child = undefined;
      return { value: undefined };
  }
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

port.on('message', (request: BridgeRequest) => {
  const reply = (answer: BridgeReply): void => {
    port.postMessage(answer);
    Atomics.add(signal, 0, 1);
    Atomics.notify(signal, 0);
  };
  serve(request).then(reply, (error: unknown) =>
    reply({ error: { message: `defect of Pare: ${String(error)}`, sentence: false }, printed: '' }),
  );
});
