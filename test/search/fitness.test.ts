import { expect, test } from 'vitest';
import fc from 'fast-check';
import { checkModel } from '../../src/ir/check.js';
import { createRng } from '../../src/rng.js';
import type { Fitness } from '../../search/fitness.js';
import { genomeKey, normalise, partsOf } from '../../search/genome.js';
import { pruneChannels } from '../../search/mutations/prune-channels.js';
import type { Replayer } from '../../search/replay.js';
import { createVariation } from '../../search/variation.js';
import { describeShared, sharedPath } from '../shared.js';
import { openSearch } from './open-search.js';

const models = ['cifar10-resnet20', 'cifar10-mobilenetv2-w0.5', 'cifar10-densenet-6-12-24', 'vit-cifar10-ibp'];
const opened = new Map<string, { replayer: Replayer; fitness: Fitness }>();
const open = (name: string, ignore: (n: string) => boolean = () => false, roundTo = 1) =>
  openSearch(sharedPath('models', `${name}.onnx`), {
    mutations: (surgery) => [pruneChannels(surgery)],
    ignore,
    roundTo,
    maxRatio: 0.9,
  });
const cached = (name: string) => {
  const known = opened.get(name) ?? open(name);
  opened.set(name, known);
  return known;
};

describeShared(
  'candidates of real networks',
  models.map((m) => `models/${m}.onnx`),
  () => {
    for (const name of models) {
      test(`${name}: the cost models agree with counting, genomes with their widths, networks with the checks`, () => {
        const { fitness, replayer } = cached(name);
        const { base } = fitness;
        fc.assert(
          fc.property(fc.infiniteStream(fc.nat(1000)), (numbers) => {
            const removed = Int32Array.from(
              base.groups,
              (g) => g.steps[(numbers.next().value as number) % g.steps.length]!,
            );
            const genome = fitness.genome(base, removed);
            expect(fitness.removed(genome, base)).toEqual(removed);
            expect(replayer.repair(genome)).toEqual(normalise(genome));
            const candidate = fitness.assess(genome);
            const relative = (a: number, b: number): number => Math.abs(a / b - 1);
            expect(relative(base.macs.value(removed), candidate.macs)).toBeLessThan(1e-9);
            expect(relative(base.params.value(removed), candidate.params)).toBeLessThan(1e-9);
            checkModel(replayer.replay(genome));
          }),
          { numRuns: 12 },
        );
      });

      test(`${name}: children are different, inside the budget, and mostly close to it`, () => {
        const { fitness, replayer } = cached(name);
        const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.4, high: 0.6 });
        const rng = createRng(name);
        const seeds = variation.seeds(10, rng);
        const whole = fitness.assess([]).macs;
        const children = Array.from({ length: 20 }, (_, i) => {
          const stream = rng.fork(`child/${i}`);
          return variation.vary(stream.pick(seeds), stream.pick(seeds), stream)!;
        });
        const shares = children.map((g) => fitness.assess(g).macs / whole);
        expect(Math.max(...shares)).toBeLessThanOrEqual(0.6);
        expect(new Set(children.map(genomeKey)).size).toBeGreaterThan(7);
        const greedy = fitness.assess(variation.greedy(0.6)).macs / whole;
        expect(greedy).toBeGreaterThan(0.59);
        expect(greedy).toBeLessThanOrEqual(0.6);
        const again = createVariation(fitness, replayer, { kind: 'macs', low: 0.4, high: 0.6 });
        expect(again.seeds(10, createRng(name))).toEqual(seeds);
      });
    }

    test('--ignore keeps its hands off, --round-to leaves multiples', () => {
      const { fitness, replayer } = open('cifar10-resnet20', (n) => n.startsWith('layer1'), 4);
      const variation = createVariation(fitness, replayer, { kind: 'macs', low: 0.6, high: 0.7 });
      const { dead } = partsOf(variation.greedy(0.65));
      expect(dead.size).toBeGreaterThan(0);
      for (const [id, units] of dead) {
        expect(id.startsWith('layer1')).toBe(false);
        const group = fitness.base.groups.find((g) => g.id === id)!;
        expect((group.size - units.length) % 4).toBe(0);
      }
    });

    test('edits that do not fit are named, and repaired away', () => {
      const { replayer } = cached('cifar10-resnet20');
      const group = replayer.base.groups.groups[1]!;
      const all = Array.from({ length: group.size }, (_, i) => i);
      const edit = (id: string, dead: number[]) => [{ mutation: 'prune-channels', params: { group: id, dead } }];
      expect(() => replayer.replay(edit('nowhere:0', [0]))).toThrow(/no group "nowhere:0"/);
      expect(() => replayer.replay(edit(group.id, [group.size]))).toThrow(/units, not unit/);
      expect(() => replayer.replay(edit(group.id, all))).toThrow(/at least one unit/);
      expect(() => replayer.replay([{ mutation: 'sing', params: null }])).toThrow(/mutation "sing" is not known/);
      expect(replayer.repair([...edit('nowhere:0', [0]), ...edit(group.id, all)])).toEqual(
        edit(group.id, all.slice(0, -1)),
      );
    });
  },
);
