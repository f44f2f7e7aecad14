// One run of a changed network beside the one it was made from, on made-up inputs: does it run, with the same output shapes, and how
// far do its outputs lie from the original's.
import { PareError } from '../errors.js';
import { randomFeeds } from '../measure/feeds.js';
import { deviation } from '../measure/outputs.js';
import { createRng } from '../rng.js';
import { withSession, type Runtime } from '../runtime/runtime.js';
import type { Trial } from './protocol.js';

export type TrialResult =
  /** The original itself does not run: nothing can be said. */
  | { readonly skipped: string }
  /** Largest relative difference over the outputs, and their shapes. */
  | { readonly difference: number; readonly shapes: ReadonlyMap<string, readonly number[]> };

/** Throws PareError when the changed network does not run or breaks its promise. */
export async function runTrial(runtime: Runtime, trial: Trial): Promise<TrialResult> {
  const { before, after, tolerance, dims } = trial;
  let original;
  try {
    original = await withSession(runtime, before, { label: 'the original' }, async (session) => {
      const feeds = randomFeeds(session.inputs, createRng('trial'), { dims, dynamic: 1 });
      return { feeds, outputs: await session.run(feeds) };
    });
  } catch (error) {
    if (error instanceof PareError) return { skipped: error.message };
    throw error;
  }
  const { feeds, outputs } = original;
  const made = await withSession(runtime, after, { label: 'the network it gave' }, (session) => session.run(feeds));
  let worst = 0;
  for (const [name, expected] of outputs) {
    const got = made.get(name);
    if (got === undefined) throw new PareError(`the network it gave has no output "${name}"`);
    if (got.dims.join() !== expected.dims.join() || got.dataType !== expected.dataType) {
      throw new PareError(
        `output "${name}" has shape [${got.dims.join(', ')}] instead of [${expected.dims.join(', ')}]`,
      );
    }
    const d = deviation(got, expected, 1, 1);
    if (d === undefined) continue;
    if (d.nonFinite > 0) throw new PareError(`output "${name}" is not finite where the original's is`);
    const difference = Math.sqrt(d.error[0]! / Math.max(d.signal[0]!, 1e-12));
    worst = Math.max(worst, difference);
    if (tolerance !== undefined && difference > tolerance) {
      throw new PareError(
        `output "${name}" differs by ${difference.toExponential(1)} of its norm, and the law allows ${tolerance}`,
      );
    }
  }
  return { difference: worst, shapes: new Map([...made].map(([name, t]) => [name, t.dims])) };
}
