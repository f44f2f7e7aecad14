// Threads (of piscina) that each open something once and then do one job after the other. A thread that dies is replaced and its job
// tried once more; a job that kills two threads is at fault itself. Which thread does what, and how many there are, changes no result.
import { Piscina } from 'piscina';
import { PareError } from '../errors.js';
import { failureOf, resultOf, type CrewReply } from './crew-member.js';

export interface Crew {
  readonly size: number;
  /** What the thread answers, or the error that it met. Rejects with JobLost when two threads died over it. */
  ask(job: unknown): Promise<unknown>;
  /** Ends all threads at once; what is still under way rejects. */
  close(reason?: unknown): Promise<void>;
}

export interface CrewOptions {
  /** JavaScript file that exports what `crewMember` makes as `work`. */
  readonly entry: string;
  readonly size: number;
  /** What each thread opens at its first job; large arrays lie in shared memory (see `shared`). */
  readonly open: unknown;
}

/** A job that ended two threads, one after the other. */
export class JobLost extends PareError {}

/** Threads start with the first job. */
export function openCrew({ entry, size, open }: CrewOptions): Crew {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new PareError(`${size} workers: the number of workers must be a positive integer`);
  }
  let pool: Piscina<unknown, CrewReply> | undefined;
  let closed: { readonly reason: unknown; readonly ended: Promise<void> } | undefined;

  const close = (reason: unknown): Promise<void> => {
    closed ??= { reason, ended: pool === undefined ? Promise.resolve() : end(pool) };
    return closed.ended;
  };

  const start = (): Piscina<unknown, CrewReply> => {
    const made = new Piscina<unknown, CrewReply>({
      filename: entry,
      name: 'work',
      minThreads: size,
      maxThreads: size,
      workerData: open,
      stricterFIFO: true,
      recordTiming: false,
      // idle threads turn their event loop, where native memory is freed, and do not block in it
      atomics: 'disabled',
    });
    let trouble: unknown = 'they end at once';
    // of a thread without a job
    made.on('error', (error) => {
      trouble = error;
    });
    // piscina replaces no thread once one has died before it was ready: jobs would wait for ever
    made.on('workerDestroy', () =>
      setImmediate(() => {
        if (closed !== undefined || made.threads.length > 0 || made.queueSize === 0) return;
        const why = failureOf(trouble).message;
        void close(new PareError(`no worker thread starts (${why}): try fewer workers, or install pare-onnx again`));
      }),
    );
    return made;
  };

  const ask = async (job: unknown): Promise<unknown> => {
    for (let attempts = 1; ; attempts++) {
      if (closed !== undefined) throw failureOf(closed.reason);
      pool ??= start();
      const reply = await pool.run(job).catch(failureOf);
      if (!(reply instanceof Error)) return resultOf(reply);
      // errors of jobs are answers: the thread died, or was ended
      if (closed === undefined && attempts === 2) {
        throw new JobLost(`the worker that did it ended twice (${reply.message})`);
      }
    }
  };

  return { size, ask, close: (reason) => close(reason ?? new Error('the workers were dismissed')) };
}

/** Again until none is left: for a thread that fails while it is being ended piscina starts another. */
async function end(pool: Piscina<unknown, CrewReply>): Promise<void> {
  do {
    const { threads } = pool;
    await pool.destroy();
    await Promise.all(threads.map((thread) => thread.terminate()));
  } while (pool.threads.length > 0);
}

/** The same value with its numbers in shared memory: sent to threads, nothing of it is copied. */
export function shared<T>(value: T): T {
  // the cast: every branch gives back what it was given, with other memory behind it
  return inSharedMemory(value) as T;
}

function inSharedMemory(value: unknown): unknown {
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return sharedView(value);
  if (value instanceof Map) return new Map([...value].map(([k, v]) => [k, inSharedMemory(v)]));
  if (Array.isArray(value)) return typeof value[0] === 'object' ? value.map(inSharedMemory) : value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, inSharedMemory(v)]));
}

function sharedView(view: ArrayBufferView): ArrayBufferView {
  if (!(view.buffer instanceof ArrayBuffer)) return view;
  const memory = new SharedArrayBuffer(view.byteLength);
  new Uint8Array(memory).set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  // the cast: a typed array's constructor makes one of its own kind; a Buffer becomes the Uint8Array that it is
  const make = (view instanceof Uint8Array ? Uint8Array : view.constructor) as new (
    memory: SharedArrayBuffer,
  ) => ArrayBufferView;
  return new make(memory);
}
