// What a run remembers on the disk: every measured candidate, one line each, and apart from it what may differ between equal runs
// (times, latencies). With the archive as a cache, replaying the algorithm continues a run where it ended.
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { PareError } from '../src/errors.js';
import type { Prediction } from '../src/predictor/predictor.js';
import { writeWhole, type JsonLog } from './checkpoint.js';
import { ahead, type Effort, type Evaluator, type Failure, type Result } from './evaluator.js';
import type { Candidate } from './fitness.js';
import { genomeKey, type Genome } from './genome.js';

const candidate = {
  genome: z.array(z.object({ mutation: z.string(), params: z.json() })),
  macs: z.number(),
  params: z.number(),
  memoryBytes: z.number(),
};

const refused = z.object({ ...candidate, failed: z.string() });

const archived = z.object({
  ...candidate,
  score: z.number(),
  metric: z.string(),
  value: z.number(),
  n: z.number(),
  ci95: z.tuple([z.number(), z.number()]),
  kl: z.number().optional(),
  agreement: z.number().optional(),
  relativeError: z.number().optional(),
  predicted: z.object({ mean: z.number(), deviation: z.number() }).optional(),
});

/** A line of archive.jsonl: what a candidate is and what was measured, nothing volatile. */
export type ArchiveRecord = MeasuredRecord | FailedRecord;

interface CandidateRecord {
  readonly genome: Genome;
  readonly macs: number;
  readonly params: number;
  readonly memoryBytes: number;
}

/** A candidate that could not be measured, and why. */
export interface FailedRecord extends CandidateRecord, Omit<Failure, 'key'> {}

export interface MeasuredRecord extends CandidateRecord, Omit<Result, 'key' | 'latencyMs'> {
  /** What the predictor foretold before the measurement; absent for the first ones, which it learns from. */
  readonly predicted?: Prediction;
}

export interface Archive {
  /** In the order of the candidates; undefined for what was not measured because the run was interrupted. */
  measure(
    candidates: readonly Candidate[],
    predictions?: readonly Prediction[],
  ): Promise<readonly (Result | Failure | undefined)[]>;
  /** How many were really measured by this process. */
  fresh(): number;
  /** Lines of archive.jsonl that the run has used so far. */
  used(): number;
}

export interface ArchiveOptions {
  readonly log: JsonLog<ArchiveRecord>;
  readonly volatile: Volatile;
  readonly evaluator: Evaluator;
  readonly effort: Effort;
  readonly signal?: AbortSignal;
  /** Once aborted, what is under way is finished and nothing else is begun. */
  readonly interrupt?: AbortSignal;
}

export function archiveOf(options: ArchiveOptions): Archive {
  const { log, volatile, evaluator, effort, signal, interrupt } = options;
  const known = new Map<string, Result | Failure>();
  for (const record of log.earlier) known.set(genomeKey(record.genome), { ...record, key: genomeKey(record.genome) });
  const used = new Set<string>();
  let fresh = 0;

  const evaluate = (open: readonly Candidate[]): Promise<readonly (Result | Failure)[]> =>
    evaluator.evaluate(
      open.map((c) => ({ genome: c.genome, effort })),
      signal,
    );

  const writeDown = (
    open: readonly Candidate[],
    results: readonly (Result | Failure)[],
    prediction: (c: Candidate) => Prediction | undefined,
  ): void => {
    const byKey = new Map(results.map((r) => [r.key, r]));
    const records = open.map((c): ArchiveRecord => {
      const { macs, params, memoryBytes } = c;
      const result = byKey.get(c.key)!;
      const about = { genome: c.genome, macs, params, memoryBytes };
      if ('failed' in result) {
        known.set(c.key, result);
        return { ...about, failed: result.failed };
      }
      const { key, latencyMs, ...rest } = result;
      if (latencyMs !== undefined && !volatile.latencies.has(key)) volatile.latencies.set(key, latencyMs);
      known.set(key, { key, ...rest });
      const predicted = prediction(c);
      return { ...about, ...rest, ...(predicted === undefined ? {} : { predicted }) };
    });
    // Latencies first: a line in the archive says that the candidate needs no more measuring.
    volatile.save();
    log.append(records);
    fresh += open.length;
  };

  return {
    fresh: () => fresh,
    used: () => used.size,
    async measure(candidates, predictions) {
      const open = candidates.filter((c) => !known.has(c.key));
      const prediction = (c: Candidate): Prediction | undefined => predictions?.[candidates.indexOf(c)];
      const hands = Math.max(1, evaluator.concurrency);
      const step = evaluator.together === true ? hands : 1;
      const parts = Array.from({ length: Math.ceil(open.length / step) }, (_, i) =>
        open.slice(i * step, (i + 1) * step),
      );
      const begin = (): boolean => interrupt?.aborted !== true;
      // Written down in their order, whichever ends first.
      for await (const { item, result } of ahead(parts, step > 1 ? 1 : hands, evaluate, begin)) {
        writeDown(item, await result, prediction);
      }
      return candidates.map((c) => {
        const result = known.get(c.key);
        if (result !== undefined) used.add(c.key);
        const latencyMs = volatile.latencies.get(c.key);
        if (result === undefined || 'failed' in result || latencyMs === undefined) return result;
        return { ...result, latencyMs };
      });
    },
  };
}

/** A line of archive.jsonl, checked. */
export function parseRecord(json: unknown): ArchiveRecord {
  if (typeof json === 'object' && json !== null && 'failed' in json) return refused.parse(json);
  // the cast: metric names are open to newer versions, everything else is as checked
  return archived.parse(json) as MeasuredRecord;
}

/** Where a run found its network and its calibration data, on the machine where it ran. */
export interface Places {
  readonly model: string;
  readonly data: string;
}

/** What may differ between equal runs: times, latencies and places. */
export interface Volatile {
  /** Of the exported files by name, and of "original". */
  readonly fileLatencies: Map<string, number>;
  readonly latencies: Map<string, number>;
  /** Spent by earlier processes of this run. */
  readonly spentMs: number;
  touch(ms: number): void;
  save(): void;
}

const volatileFile = z.object({
  spentMs: z.number(),
  latencies: z.record(z.string(), z.number()),
  fileLatencies: z.record(z.string(), z.number()).optional(),
  places: z.object({ model: z.string(), data: z.string() }).optional(),
});

/** What run.json says of them; undefined when there is none. */
export function placesOf(path: string): Places | undefined {
  return existsSync(path) ? volatileFile.safeParse(readJson(path)).data?.places : undefined;
}

export function openVolatile(path: string, places: Places): Volatile {
  const earlier = existsSync(path) ? volatileFile.safeParse(readJson(path)).data : undefined;
  const latencies = new Map(Object.entries(earlier?.latencies ?? {}));
  const fileLatencies = new Map(Object.entries(earlier?.fileLatencies ?? {}));
  const spentMs = earlier?.spentMs ?? 0;
  let own = 0;
  return {
    latencies,
    fileLatencies,
    spentMs,
    touch: (ms) => {
      own = ms;
    },
    save: () =>
      writeJson(path, {
        note: 'volatile: places, times and latencies (ms) of this machine',
        places,
        spentMs: Math.round(spentMs + own),
        latencies: Object.fromEntries(latencies),
        fileLatencies: Object.fromEntries(fileLatencies),
      }),
  };
}

export function checkSameRun(path: string, config: object): void {
  if (!existsSync(path)) return;
  const { evaluations: _count, archived: _lines, ...before } = z.record(z.string(), z.unknown()).parse(readJson(path));
  const now = z.record(z.string(), z.unknown()).parse(JSON.parse(JSON.stringify(config)));
  const changed = Object.keys({ ...before, ...now }).filter(
    (k) => JSON.stringify(before[k]) !== JSON.stringify(now[k]),
  );
  if (changed.length > 0) {
    throw new PareError(
      `${path}: the run was started with other settings (${changed.join(', ')}); resume it with the same ones, or choose another --out`,
    );
  }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new PareError(`${path}: is not JSON; start again in a new folder`, { cause });
  }
}

export function writeJson(path: string, value: unknown): void {
  writeWhole(path, `${JSON.stringify(value, undefined, 2)}\n`);
}
