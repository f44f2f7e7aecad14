// Every gradient rule under random shapes and attributes: central differences in the float64 reference, and onnxruntime.

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { expandRules, gradientRules } from '../../src/ops/gradients.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { gradientCases } from './gradient-cases.js';
import type { Draw } from './gradient-makers.js';
import { gradientAgreement } from './gradient-law.js';

const runtime = ortRuntime();
afterAll(() => runtime.close());

/** Of integers, of types, of positions: what carries no gradient by itself. */
const checkedElsewhere = new Set(['CastLike']);

describe('gradient rules agree with central differences to 1e-4, onnxruntime with the reference to 1e-3', () => {
  it('for every operator that has one', () => {
    const made = new Set(gradientCases.map(([opType]) => opType));
    const rules = [...gradientRules.keys(), ...expandRules.keys()];
    expect(rules.filter((opType) => !made.has(opType) && !checkedElsewhere.has(opType))).toEqual([]);
  });

  it.each(gradientCases)('%s', async (opType, make) => {
    const property = fc.asyncProperty(fc.gen(), async (g) => {
      const draw: Draw = {
        int: (min, max) => g(fc.integer, { min, max }),
        pick: <T>(from: readonly T[]): T => g(fc.constantFrom<T[]>, ...from),
      };
      const found = await gradientAgreement(make(draw), createRng(`law/${opType}`), runtime);
      expect(found.differences).toBeLessThan(1e-4);
      expect(found.runtime).toBeLessThan(1e-3);
    });
    await fc.assert(property, { numRuns: 12, seed: 20_261_122 });
  });
});
