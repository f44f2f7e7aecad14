// The Runtime on several threads: each loads every session, and a `run` goes to a free one. onnxruntime-node blocks its
// thread while it runs, so this is how one process uses several cores with one intra-op thread each. Not of piscina (see crew.ts): it
// hands a task to one thread, where `load` and `release` go to every one.
import { Worker } from 'node:worker_threads';
import { PareError } from '../errors.js';
import { entryFile } from './entry.js';
import type { LoadOptions, ModelSource, Runtime, RuntimeTensor, Session } from './runtime.js';
import { valueOf, type Loaded, type Reply, type Request } from './serve.js';
import { withFileOrBytes } from './source.js';

interface Thread {
  /** Requests of one thread must not overlap: the next is sent when the last was answered. */
  ask(request: Request): Promise<unknown>;
  end(): Promise<void>;
}

/** Threads start at once and do not keep the process alive. Call `close` when done. */
export function threadRuntime(threads: number): Runtime {
  if (!Number.isSafeInteger(threads) || threads < 1) {
    throw new PareError(`${threads} threads: the number of threads must be a positive integer`);
  }
  const all = Array.from({ length: threads }, startThread);
  const idle = [...all];
  const waiting: ((thread: Thread) => void)[] = [];
  let sessions = 0;

  const free = (thread: Thread): void => {
    const next = waiting.shift();
    if (next === undefined) idle.push(thread);
    else next(thread);
  };
  const take = (): Promise<Thread> => {
    const thread = idle.pop();
    return thread === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(thread);
  };
  /** Something that every thread does, once each is free. */
  const everywhere = async (request: Request): Promise<readonly unknown[]> => {
    const results = await Promise.allSettled(all.map((thread) => thread.ask(request)));
    const failed = results.find((r) => r.status === 'rejected');
    if (failed !== undefined) {
      // what other threads have loaded is of no use
      if (request.op === 'load') await Promise.allSettled(all.map((t) => t.ask({ op: 'release', key: request.key })));
      throw failed.reason;
    }
    return results.map((r) => (r.status === 'fulfilled' ? r.value : undefined));
  };

  const load = (model: ModelSource, options: LoadOptions = {}): Promise<Session> =>
    withFileOrBytes(model, async (source) => {
      const key = sessions++;
      const label = options.label ?? (typeof model === 'string' ? `"${model}"` : 'the model');
      const [first] = await everywhere({ op: 'load', key, source, options: { ...options, label } });
      // the cast: serve.ts answers `load` with Loaded, and there is at least one thread
      const { inputs, outputs } = first as Loaded;
      return {
        inputs,
        outputs,
        async run(feeds, names) {
          const thread = await take();
          try {
            // the cast: serve.ts answers `run` with what Session.run gives
            return (await thread.ask({ op: 'run', key, feeds, outputs: names })) as ReadonlyMap<string, RuntimeTensor>;
          } finally {
            free(thread);
          }
        },
        async release() {
          await everywhere({ op: 'release', key });
        },
      };
    });

  return {
    name: 'onnxruntime',
    concurrency: threads,
    load,
    close: async () => {
      await Promise.all(all.map((thread) => thread.end()));
    },
  };
}

function startThread(): Thread {
  const worker = new Worker(entryFile('worker'));
  worker.unref();
  let last: Promise<unknown> = Promise.resolve();
  let dead: Error | undefined;

  const exchange = (request: Request): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (dead !== undefined) {
        reject(dead);
        return;
      }
      const done = (): void => {
        worker.unref();
        worker.off('message', answered);
        worker.off('error', failed);
        worker.off('exit', exited);
      };
      const failed = (error: Error): void => {
        done();
        dead = error;
        reject(error);
      };
      const exited = (code: number): void =>
        failed(
          Object.assign(new Error(`a thread of the runtime ended with code ${code}`), { code: 'ERR_WORKER_ENDED' }),
        );
      const answered = (reply: Reply): void => {
        done();
        try {
          resolve(valueOf(reply));
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      worker.ref();
      worker.on('message', answered);
      worker.on('error', failed);
      worker.on('exit', exited);
      worker.postMessage(request);
    });

  return {
    ask(request) {
      const result = last.then(() => exchange(request));
      last = result.catch(() => undefined);
      return result;
    },
    async end() {
      await last;
      dead = new Error('the runtime was closed');
      await worker.terminate();
    },
  };
}
