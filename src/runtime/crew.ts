// Threads that each open something once and then do one job after the other. A thread that dies is replaced and its job tried once
// more; a job that kills two threads is at fault itself. Which thread does what, and how many there are, changes no result.
import { Worker } from 'node:worker_threads';
import { PareError } from '../errors.js';
import { failureOf, resultOf, type CrewMessage, type CrewReply } from './crew-member.js';

export interface Crew {
  readonly size: number;
  /** What the thread answers, or the error that it met. Rejects with JobLost when two threads died over it. */
  ask(job: unknown): Promise<unknown>;
  /** Ends all threads at once; what is still under way rejects. */
  close(reason?: unknown): Promise<void>;
}

export interface CrewOptions {
  /** JavaScript file that calls `serveCrew`. */
  readonly entry: string;
  readonly size: number;
  /** What each thread opens before its first job; large arrays lie in shared memory (see `shared`). */
  readonly open: unknown;
}

/** A job that ended two threads, one after the other. */
export class JobLost extends PareError {}

interface Order {
  readonly job: unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  attempts: number;
}

interface Seat {
  worker: Worker | undefined;
  busy: boolean;
}

/** Threads start with their first job. */
export function openCrew({ entry, size, open }: CrewOptions): Crew {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new PareError(`${size} workers: the number of workers must be a positive integer`);
  }
  const seats = Array.from({ length: size }, (): Seat => ({ worker: undefined, busy: false }));
  const waiting: Order[] = [];
  const underWay = new Set<Order>();
  let closed: { readonly reason: unknown } | undefined;

  const next = (): void => {
    for (const seat of seats) {
      if (seat.busy) continue;
      const order = waiting.shift();
      if (order === undefined) return;
      work(seat, order);
    }
  };

  const work = (seat: Seat, order: Order): void => {
    seat.busy = true;
    order.attempts++;
    underWay.add(order);
    const worker = (seat.worker ??= start(entry, open));
    worker.ref();
    const settle = (): void => {
      worker.off('message', answered);
      worker.off('error', failed);
      worker.off('exit', exited);
      worker.unref();
      underWay.delete(order);
      seat.busy = false;
    };
    const answered = (reply: CrewReply): void => {
      settle();
      try {
        order.resolve(resultOf(reply));
      } catch (error) {
        order.reject(error);
      }
      next();
    };
    const lost = (why: string): void => {
      settle();
      seat.worker = undefined;
      void worker.terminate();
      if (closed !== undefined) return;
      if (order.attempts < 2) waiting.unshift(order);
      else order.reject(new JobLost(`the worker that did it ended twice (${why})`));
      next();
    };
    const failed = (error: Error): void => lost(error.message);
    const exited = (code: number): void => lost(`exit code ${code}`);
    worker.on('message', answered);
    worker.on('error', failed);
    worker.on('exit', exited);
    worker.postMessage({ job: order.job } satisfies CrewMessage);
  };

  return {
    size,
    ask: (job) =>
      new Promise((resolve, reject) => {
        if (closed !== undefined) {
          reject(failureOf(closed.reason));
          return;
        }
        waiting.push({ job, resolve, reject, attempts: 0 });
        next();
      }),
    async close(reason) {
      closed ??= { reason: reason ?? new Error('the workers were dismissed') };
      for (const order of [...underWay, ...waiting.splice(0)]) order.reject(failureOf(closed.reason));
      await Promise.all(seats.map(async (seat) => seat.worker?.terminate()));
    },
  };
}

function start(entry: string, open: unknown): Worker {
  const worker = new Worker(entry);
  worker.postMessage({ open } satisfies CrewMessage);
  return worker;
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
