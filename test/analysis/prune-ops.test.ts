import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/rng.js';
import { analysed, expectLaw, randomDead } from './prune-law.js';
import { buildNet, convolutional } from './small-nets.js';
import { sequential } from './small-sequence-nets.js';

const nets = [...convolutional, ...sequential];

describe('pruned equals masked, construction by construction', () => {
  test.each(nets.map((net) => [net.name, net] as const))('%s', async (_name, net) => {
    await fc.assert(
      fc.asyncProperty(fc.nat(1_000_000), async (seed) => {
        const rng = createRng(seed);
        const analysis = analysed(buildNet(net, rng));
        const found = analysis.groups.groups.filter((g) => g.size > 1 && g.inexact === undefined);
        expect(found.length).toBeGreaterThanOrEqual(net.groups);
        const dead = randomDead(analysis, rng);
        expect(dead.size).toBeGreaterThan(0);
        await expectLaw(analysis, dead, rng);
      }),
      { numRuns: 4, seed: 7 },
    );
  });
});
