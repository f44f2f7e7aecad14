// What is asked of exported files: carried over to scores of the search, and held by what is handed over.
import fc from 'fast-check';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Measured } from '../../search/explore.js';
import type { Genome } from '../../search/genome.js';
import { leastScore, searchedLoss } from '../../search/least-score.js';
import { DEFAULT_EFFORT } from '../../search/optimize.js';
import type { Workshop } from '../../search/workshop.js';
import { createRng } from '../../src/rng.js';
import { standardOps } from '../../src/ops/index.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { smallExample } from '../small-run.js';
import { runToEnd, smallEffort } from './open-search.js';

describe('the loss of the search that will do', () => {
  const losses = fc.array(
    fc.record({
      searched: fc.double({ min: 0, max: 0.5, noNaN: true }),
      left: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    { maxLength: 8 },
  );
  const share = fc.double({ min: 0.001, max: 0.3, noNaN: true });

  test('is the allowed one where nothing is known, and never far below it', () => {
    fc.assert(
      fc.property(losses, share, (seen, allowed) => {
        expect(searchedLoss([], allowed, 0.9)).toBeCloseTo(allowed, 12);
        const pairs = seen.map(({ searched, left }) => ({ searched, refitted: left * searched }));
        const found = searchedLoss(pairs, allowed, 0.9);
        // a refit that only gives back
        expect(found).toBeGreaterThanOrEqual(allowed * (1 - 1e-12));
        expect(found).toBeLessThanOrEqual(5 * allowed * (1 + 1e-12));
      }),
    );
  });

  test('comes close to what a refit that leaves a fixed share says', () => {
    fc.assert(
      fc.property(share, fc.double({ min: 0.25, max: 1, noNaN: true }), (allowed, left) => {
        const pairs = [0.02, 0.05, 0.1, 0.2, 0.4].map((searched) => ({ searched, refitted: left * searched }));
        const found = searchedLoss(pairs, allowed, 0.9);
        expect(found).toBeLessThanOrEqual((allowed / left) * (1 + 1e-9));
        expect(found).toBeGreaterThan(0.7 * (allowed / left));
      }),
    );
  });

  test('is out of reach where more is asked than the original has', () => {
    expect(searchedLoss([{ searched: 0.1, refitted: 0.05 }], -0.01, 0.9)).toBe(-0.01);
  });
});

describe('candidates that the search measures after a refit on data', () => {
  const plain = { genome: [{ mutation: 'prune-channels', params: 1 }] };
  const needy = { genome: [{ mutation: 'replace-segment', params: 1 }] };
  // the casts: of workshop and candidates only what stands here is read
  const workshop = {
    original: { score: 1 },
    replayer: { options: { mutations: [{ name: 'replace-segment', refit: true }, { name: 'prune-channels' }] } },
  } as unknown as Workshop;
  const of = (kind: { readonly genome: Genome }, score: number): Measured =>
    ({ ...kind, score }) as unknown as Measured;
  const least = leastScore({
    workshop,
    plan: DEFAULT_EFFORT,
    out: '',
    rng: createRng('least'),
    wish: (score) => score - 0.005,
  });

  test('gain nothing more: what a refit leaves is learnt apart', () => {
    expect(least.likely(of(plain, 0.98))).toBe(false);
    least.take({
      original: 1,
      refits: [
        { candidate: of(plain, 0.95), refitted: 0.995 },
        { candidate: of(plain, 0.98), refitted: 0.998 },
        { candidate: of(needy, 0.98), refitted: 0.98 },
      ],
    });
    expect(least.likely(of(plain, 0.98))).toBe(true);
    expect(least.likely(of(needy, 0.98))).toBe(false);
    expect(least.likely(of(needy, 0.997))).toBe(true);
    expect(least.comparable(of(plain, 0.98), 0.98)).toBe(0.98);
    // a loss of .005 that stays is as bad as a larger one that a refit mostly gives back
    expect(least.comparable(of(needy, 0), 0.995)).toBeLessThan(0.985);
  });

  test('predictions go back to what is measured', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (mean, deviation) => {
          for (const kind of [plain, needy]) {
            const candidate = of(kind, 0);
            const back = least.asMeasured(candidate, { mean: least.comparable(candidate, mean), deviation });
            expect(back.mean).toBeCloseTo(mean, 9);
            expect(back.deviation).toBeLessThanOrEqual(deviation);
          }
        },
      ),
    );
  });

  test('what files have lost counts as well', () => {
    least.learn(of(plain, 0.98), 0.03);
    least.learn(of(plain, 0.985), 0.03);
    expect(least.likely(of(plain, 0.98))).toBe(false);
  });
});

test('files hold the accuracy that was asked, or the front says that none does', { timeout: 480_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-least-'));
  const runtime = ortRuntime();
  try {
    smallExample(folder, { calib: 300 });
    const run = (out: string, minAccuracy: string) =>
      runToEnd({
        model: join(folder, 'net.onnx'),
        data: join(folder, 'calib.json'),
        out: join(folder, out),
        wishes: { minAccuracy },
        evaluations: 9,
        seed: '1',
        runtime,
        table: standardOps,
        version: '0.0.0',
        effort: { ...smallEffort, calibrators: 3, members: 2 },
      });
    const { front } = await run('a', '-5');
    const least = front.original.measured.value - 0.05;
    expect(front.constraints.minScore).toBeCloseTo(least, 9);
    expect(front.reached).toBe(true);
    for (const { measured, violation } of front.candidates) {
      expect(violation).toBe(0);
      expect(measured.value).toBeGreaterThanOrEqual(least - 1e-9);
    }
    const files = front.candidates.map((c) => c.file.replace('candidates/', '')).toSorted();
    expect(readdirSync(join(folder, 'a', 'candidates')).toSorted()).toEqual(files);
    expect(existsSync(join(folder, 'a', 'refits.jsonl'))).toBe(true);

    // more than the original itself
    const { front: none } = await run('b', '+1.5');
    expect(none.reached).toBe(false);
    expect(none.note).toMatch(/no measured candidate holds all constraints/);
    for (const { violation, measured } of none.candidates) {
      expect(violation).toBeCloseTo(none.constraints.minScore! - measured.value, 9);
    }
  } finally {
    await runtime.close();
    rmSync(folder, { recursive: true });
  }
});
