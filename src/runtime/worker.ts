// Entry file of a thread of threads.ts: keeps sessions by key and answers one request at a time.
import { parentPort } from 'node:worker_threads';
import { PareError } from '../errors.js';
import { ortRuntime } from './ort.js';
import type { LoadOptions, RuntimeTensor, Session, ValueMeta } from './runtime.js';

/** What threads.ts asks; `key` names a session in every thread. */
export type Request =
  | { readonly op: 'load'; readonly key: number; readonly source: string | Uint8Array; readonly options: LoadOptions }
  | {
      readonly op: 'run';
      readonly key: number;
      readonly feeds: ReadonlyMap<string, RuntimeTensor>;
      readonly outputs: readonly string[] | undefined;
    }
  | { readonly op: 'release'; readonly key: number };

/** The answer: a value, or an error of the user's (`sentence`) or of ours. */
export type Reply =
  | { readonly value: unknown }
  | { readonly error: string; readonly sentence: boolean; readonly stack?: string | undefined };

export interface Loaded {
  readonly inputs: readonly ValueMeta[];
  readonly outputs: readonly ValueMeta[];
}

const port = parentPort;
if (port === null) throw new Error('src/runtime/worker.ts is the entry of a thread');
serve(port);

function serve(to: NonNullable<typeof parentPort>): void {
  const runtime = ortRuntime();
  const sessions = new Map<number, Session>();

  const answer = async (request: Request): Promise<unknown> => {
    if (request.op === 'load') {
      const session = await runtime.load(request.source, request.options);
      sessions.set(request.key, session);
      return { inputs: session.inputs, outputs: session.outputs } satisfies Loaded;
    }
    const session = sessions.get(request.key);
    if (session === undefined) throw new Error(`no session ${request.key} in this thread`);
    if (request.op === 'run') return session.run(request.feeds, request.outputs);
    sessions.delete(request.key);
    return session.release();
  };

  to.on('message', (request: Request) => {
    answer(request).then(
      (value) => to.postMessage({ value } satisfies Reply),
      (error: unknown) => {
        const known = error instanceof Error ? error : new Error(String(error));
        const reply: Reply = { error: known.message, sentence: known instanceof PareError, stack: known.stack };
        to.postMessage(reply);
      },
    );
  });
}
