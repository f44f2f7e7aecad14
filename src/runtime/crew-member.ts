// The other end of crew.ts: what a thread's entry file calls. Opens once, then answers one job after the other.
import type { MessagePort } from 'node:worker_threads';
import { PareError } from '../errors.js';

export type CrewMessage = { readonly open: unknown } | { readonly job: unknown };

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
export function serveCrew(port: MessagePort, open: (what: unknown) => (job: unknown) => Promise<unknown>): void {
  let work: ((job: unknown) => Promise<unknown>) | undefined;
  let broken: unknown;
  const answer = async (job: unknown): Promise<CrewReply> => {
    try {
      if (work === undefined) throw failureOf(broken ?? 'a job before anything was opened');
      return { value: await work(job) };
    } catch (error) {
      const known = failureOf(error);
      return { error: known.message, sentence: known instanceof PareError, code: codeOf(known), stack: known.stack };
    }
  };
  port.on('message', (message: CrewMessage) => {
    if ('job' in message) {
      void answer(message.job).then((reply) => port.postMessage(reply));
      return;
    }
    try {
      work = open(message.open);
    } catch (error) {
      broken = error;
    }
  });
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
