// The other end of threads.ts and isolated.ts: keeps sessions by key and answers requests that arrive as messages.
import { PareError } from '../errors.js';
import { ortRuntime } from './ort.js';
import type { LoadOptions, RuntimeTensor, Session, ValueMeta } from './runtime.js';

/** `key` names a session, chosen by who asks. */
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

/** What `load` answers. */
export interface Loaded {
  readonly inputs: readonly ValueMeta[];
  readonly outputs: readonly ValueMeta[];
}

/** Answers one request; never rejects. */
export function requestServer(): (request: Request) => Promise<Reply> {
  const runtime = ortRuntime();
  const sessions = new Map<number, Session>();

  const answer = async (request: Request): Promise<unknown> => {
    if (request.op === 'load') {
      const session = await runtime.load(request.source, request.options);
      sessions.set(request.key, session);
      return { inputs: session.inputs, outputs: session.outputs } satisfies Loaded;
    }
    const session = sessions.get(request.key);
    if (request.op === 'release') {
      sessions.delete(request.key);
      return session?.release();
    }
    if (session === undefined) throw new Error(`there is no session ${request.key} here`);
    return session.run(request.feeds, request.outputs);
  };

  return async (request) => {
    try {
      return { value: await answer(request) };
    } catch (error) {
      const known = error instanceof Error ? error : new Error(String(error));
      return { error: known.message, sentence: known instanceof PareError, stack: known.stack };
    }
  };
}

/** The value of a reply, or its error thrown. */
export function valueOf(reply: Reply): unknown {
  if ('value' in reply) return reply.value;
  throw reply.sentence ? new PareError(reply.error) : new Error(reply.error, { cause: reply.stack });
}
