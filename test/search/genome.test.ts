import fc from 'fast-check';
import { expect, test } from 'vitest';
import { genomeKey, genomeOf, normalise, partsOf, pruneParams, type Edit } from '../../search/genome.js';

const prune: fc.Arbitrary<Edit> = fc
  .record({ group: fc.constantFrom('a:0', 'b:0', 'c:1'), dead: fc.uniqueArray(fc.nat(9)) })
  .map((params) => ({ mutation: 'prune-channels', params }));
const other: fc.Arbitrary<Edit> = fc.record({
  mutation: fc.constantFrom('remove-block', 'fold'),
  params: fc.dictionary(fc.string(), fc.oneof(fc.nat(), fc.string())),
});
const genome = fc.array(fc.oneof(prune, other), { maxLength: 8 });

test('normalising is idempotent, and the order of prune edits does not matter', () => {
  fc.assert(
    fc.property(genome, fc.nat(), (g, turn) => {
      const once = normalise(g);
      expect(normalise(once)).toEqual(once);
      const cuts = g.filter((e) => e.mutation === 'prune-channels');
      const rest = g.filter((e) => e.mutation !== 'prune-channels');
      const k = cuts.length === 0 ? 0 : turn % cuts.length;
      const turned = [...cuts.slice(k), ...rest, ...cuts.slice(0, k)];
      expect(genomeKey(normalise(turned))).toBe(genomeKey(once));
    }),
  );
});

test('taking apart and putting together loses nothing', () => {
  fc.assert(
    fc.property(genome, (g) => {
      const { structure, dead } = partsOf(g);
      expect(genomeOf(structure, dead)).toEqual(normalise(g));
      const before = new Set(
        g
          .filter((e) => e.mutation === 'prune-channels')
          .flatMap((e) => pruneParams(e.params).dead.map((u) => `${pruneParams(e.params).group}/${u}`)),
      );
      expect(new Set([...dead].flatMap(([group, units]) => units.map((u) => `${group}/${u}`)))).toEqual(before);
    }),
  );
});

test('equal content, equal key; different content, different key', () => {
  const a = [{ mutation: 'x', params: { b: 1, a: [2, 'c'] } }];
  expect(genomeKey(a)).toBe(genomeKey([{ params: { a: [2, 'c'], b: 1 }, mutation: 'x' }]));
  expect(genomeKey(a)).not.toBe(genomeKey([{ mutation: 'x', params: { b: 1, a: [2, 'd'] } }]));
});

test('parameters that are none are named', () => {
  for (const bad of [null, 3, 'x', [], { group: 'a' }, { group: 1, dead: [] }, { group: 'a', dead: [-1] }]) {
    expect(() => pruneParams(bad)).toThrow(/prune-channels: parameters must be/);
  }
});
