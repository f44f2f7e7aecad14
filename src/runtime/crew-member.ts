// The other end of crew.ts: what a thread's entry file exports. Opens once, then answers one job after the other.
import { workerData } from 'node:worker_threads';
import { PareError } from '../errors.js';

/** The answer: a value, or an error of the user's (`sentence`), of the system's (`code`) or of ours. */
export type CrewReply =
  | { readonly value: unknown }
  | {
      readonly error: string;
      readonly sentence: boolean;
      readonly code?: string | undefined;
      readonly stack?: string | undefined;
    };

/** `open`: from what the crew was opened with to what does its jobs. An error of `open` is the answer to every job. */
export function crewMember(
  open: (what: unknown) => (job: unknown) => Promise<unknown>,
): (job: unknown) => Promise<CrewReply> {
  let opened: Promise<(job: unknown) => Promise<unknown>> | undefined;
  return async (job) => {
    try {
      opened ??= Promise.resolve(workerData).then(open);
      const work = await opened;
      return { value: await work(job) };
    } catch (error) {
      const known = failureOf(error);
      return { error: known.message, sentence: known instanceof PareError, code: codeOf(known), stack: known.stack };
    }
  };
}

/** The value of a reply, or its error thrown. */
export function resultOf(reply: CrewReply): unknown {
  if ('value' in reply) return reply.value;
  const cause = reply.code === undefined ? undefined : Object.assign(new Error(reply.error), { code: reply.code });
  if (reply.sentence) throw new PareError(reply.error, { cause });
  throw cause ?? new Error(reply.error, { cause: reply.stack });
}

export function failureOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Of the error or of what caused it. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException; // Node's system errors carry it
  return code ?? codeOf(error.cause);
}
