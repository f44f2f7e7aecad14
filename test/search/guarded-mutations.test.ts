// Mutations of a program that throw what is no PareError, or give back garbage: disabled with a sentence, and the run goes on.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { guardMutations } from '../../search/guarded-mutations.js';
import type { Mutation } from '../../search/mutations/mutation.js';
import { PareError } from '../../src/errors.js';
import type { Model } from '../../src/ir/graph.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { smallExample } from '../small-run.js';
import { openSearch, runToEnd, shapesModel, smallEffort } from './open-search.js';

const broken = (name: string, changes: Partial<Mutation>): Mutation => ({
  name,
  summary: 'misbehaves',
  law: 'exact',
  propose: () => ({}),
  apply: (_, { analysis }) => analysis.model,
  ...changes,
});
const crash = (): never => {
  throw new TypeError('nothing of this');
};
// the cast: garbage from plain JavaScript
const garbage = (): Model => ({ graph: [1, 2] }) as unknown as Model;

describe('a guarded mutation', () => {
  const { base, replayer } = openSearch(shapesModel);
  const context = replayer.context(base);

  test('that throws while proposing is asked once', () => {
    let asked = 0;
    const { mutations, warnings } = guardMutations([
      broken('thrower', {
        propose: () => {
          asked++;
          return crash();
        },
      }),
    ]);
    for (let i = 0; i < 3; i++) expect(mutations[0]!.propose(context, createRng('1'))).toBeUndefined();
    expect(asked).toBe(1);
    const sentence =
      'mutation "thrower" threw in propose: nothing of this; it is disabled, and the run goes on without it';
    expect(warnings()).toEqual([sentence]);
    expect(warnings()).toEqual([]);
  });

  test.each([
    ['crashes', crash],
    ['gives garbage', garbage],
  ])('whose apply %s: a PareError, and no further proposals', (_, apply) => {
    const { mutations, warnings } = guardMutations([broken('applier', { apply })]);
    expect(mutations[0]!.propose(context, createRng('1'))).toEqual({});
    expect(() => mutations[0]!.apply({}, context)).toThrow(PareError);
    expect(mutations[0]!.propose(context, createRng('1'))).toBeUndefined();
    expect(warnings().join()).toContain('mutation "applier" threw in apply');
  });

  test('that refuses with a PareError stays, and gives what it gives', () => {
    const refuse = (): never => {
      throw new PareError('not here');
    };
    const { mutations, warnings } = guardMutations([broken('polite', { apply: refuse }), broken('good', {})]);
    expect(() => mutations[0]!.apply({}, context)).toThrow('not here');
    expect(mutations[0]!.propose(context, createRng('1'))).toEqual({});
    expect(mutations[1]!.apply({}, context)).toBe(base.model);
    expect(warnings()).toEqual([]);
  });
});

test('a run with such mutations says so and ends with a front', { timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-guarded-'));
  const runtime = ortRuntime();
  try {
    smallExample(folder, { calib: 120 });
    const warnings: string[] = [];
    const { front } = await runToEnd(
      {
        model: join(folder, 'net.onnx'),
        data: join(folder, 'calib.json'),
        out: join(folder, 'out'),
        wishes: { flops: '60%' },
        mutations: [broken('thrower', { propose: crash }), broken('applier', { apply: crash })],
        evaluations: 2,
        seed: '1',
        runtime,
        table: standardOps,
        version: '0.0.0',
        effort: { ...smallEffort, members: 1 },
      },
      ({ warning }) => {
        if (warning !== undefined) warnings.push(warning);
      },
    );
    expect(front.candidates).toHaveLength(1);
    expect(warnings.join('\n')).toMatch(/"thrower" threw in propose: nothing of this; it is disabled/);
    expect(warnings.join('\n')).toMatch(/"applier" threw in apply: nothing of this; it is disabled/);
  } finally {
    await runtime.close();
    rmSync(folder, { recursive: true });
  }
});
