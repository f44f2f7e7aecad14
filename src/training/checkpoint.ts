// A training run on the disk: one file, a line of JSON and then the values as they lie in memory, so that a run that goes on
// from it does what it would have done undisturbed.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { PareError } from '../errors.js';
import { elementCount } from '../ir/tensor.js';
import { floatData, floatsOf, type RuntimeTensor } from '../runtime/runtime.js';
import type { TrainingState } from './step.js';

const progress = z.object({
  /** Steps done. */
  step: z.int().nonnegative(),
  elapsedMs: z.number().nonnegative(),
  best: z.object({ step: z.int(), value: z.number(), metric: z.string() }).optional(),
  /** Peak rate, where it was chosen by trial. */
  rate: z.number().positive().optional(),
  /** Epochs since the held-out metric last rose. */
  waited: z.int().nonnegative(),
  /** Of a run bounded in time: the step at which each of its hundredths began. */
  pace: z.array(z.int().nonnegative()).readonly(),
  /** By whoever watches the run. */
  seen: z.array(z.record(z.string(), z.number())).readonly().default([]),
});
export type Progress = z.infer<typeof progress>;

const header = z.object({
  /** What determines the run, by name. */
  run: z.record(z.string(), z.string()),
  progress,
  tensors: z.array(z.object({ name: z.string(), dims: z.array(z.int()) })),
});

export interface Checkpoint {
  readonly progress: Progress;
  readonly state: TrainingState;
  /** The state with the best held-out value. */
  readonly best: TrainingState | undefined;
}

const FILE = 'training.checkpoint';
const BEST = 'best:';

/** Replaces the folder's checkpoint in one move: a killed run leaves the old one or the new one. */
export function writeCheckpoint(folder: string, run: Readonly<Record<string, string>>, c: Checkpoint): void {
  mkdirSync(folder, { recursive: true });
  const best = [...(c.best ?? [])].map(([name, t]) => [`${BEST}${name}`, t] as const);
  const all = [...c.state, ...best];
  const tensors = all.map(([name, t]) => ({ name, dims: [...t.dims] }));
  const parts = all.map(([, t]) => {
    const data = floatsOf(t);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  });
  const line = Buffer.from(`${JSON.stringify({ run, progress: c.progress, tensors })}\n`);
  const path = join(folder, FILE);
  writeFileSync(`${path}.new`, Buffer.concat([line, ...parts]));
  renameSync(`${path}.new`, path);
}

/** The folder's checkpoint; undefined when it has none. One of another run is a PareError. */
export function readCheckpoint(folder: string, run: Readonly<Record<string, string>>): Checkpoint | undefined {
  const path = join(folder, FILE);
  if (!existsSync(path)) return undefined;
  const bytes = readFileSync(path);
  const end = bytes.indexOf(10);
  let found: z.infer<typeof header>;
  try {
    found = header.parse(JSON.parse(bytes.toString('utf8', 0, end)));
  } catch (error) {
    throw new PareError(`"${path}" is no checkpoint of a training run: delete it or name another folder`, {
      cause: error,
    });
  }
  const changed = Object.keys(run).find((name) => found.run[name] !== run[name]);
  if (changed !== undefined) {
    throw new PareError(
      `"${path}" belongs to another run (${changed} was ${found.run[changed]}, is ${run[changed]}): delete it or name another folder`,
    );
  }
  const expected = found.tensors.reduce((sum, t) => sum + 4 * elementCount(t.dims), end + 1);
  if (bytes.length !== expected) throw new PareError(`"${path}" is cut off: delete it to start again`);
  let at = end + 1;
  const state = new Map<string, RuntimeTensor>();
  const best = new Map<string, RuntimeTensor>();
  for (const { name, dims } of found.tensors) {
    const size = 4 * elementCount(dims);
    // copied: the values begin anywhere in the file
    const data = new Float32Array(Uint8Array.from(bytes.subarray(at, at + size)).buffer);
    at += size;
    if (name.startsWith(BEST)) best.set(name.slice(BEST.length), floatData(dims, data));
    else state.set(name, floatData(dims, data));
  }
  return { progress: found.progress, state, best: best.size === 0 ? undefined : best };
}
