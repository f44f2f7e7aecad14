import { expect, test } from 'vitest';
import { replaceSegment } from '../../search/mutations/replace-segment.js';
import { segmentWeights, type LinearMap } from '../../search/segments/fit.js';
import { planSegment, type SegmentNode } from '../../search/segments/segment.js';
import { analyse } from '../../src/analysis/analyse.js';
import { readModel } from '../../src/onnx/read.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import { describeShared, sharedPath } from '../shared.js';
import { contextOf, expectLaws, models } from './laws.js';

describeShared('replace-segment on public networks', ['models'], () => {
  const mutation = replaceSegment();

  test.each(models)('%s: proposals are cheaper networks with the same interface', async (name) => {
    const analysis = analyse(readModel(sharedPath('models', `${name}.onnx`)), standardOps, { binding: { dynamic: 1 } });
    const context = contextOf(analysis);
    const rng = createRng(name);
    for (let i = 0; i < 3; i++) {
      const params = mutation.propose(context, rng.fork(`${i}`));
      if (params !== undefined) await expectLaws(mutation, params, context);
    }
  });

  test('parameters that do not fit are sentences', () => {
    const analysis = analyse(readModel(sharedPath('models', 'cifar10-resnet20.onnx')), standardOps, {
      binding: { dynamic: 1 },
    });
    const context = contextOf(analysis);
    const good = mutation.propose(context, createRng('good')) as { readonly nodes: readonly object[] };
    for (const [params, said] of [
      [{}, /parameters must be/],
      [{ ...good, nodes: [] }, /parameters must be/],
      [{ ...good, nodes: [{ op: 'Eval', from: [-1] }] }, /parameters must be/],
      [{ ...good, nodes: [{ op: 'Conv', from: [3], kernel: [1, 1] }] }, /parameters must be/],
      [{ ...good, to: 'nothing' }, /no chain leads/],
      [{ ...good, nodes: [{ op: 'Conv', from: [-1], kernel: [99, 99], width: ['out', 1] }] }, /more than|does not fit/],
    ] as const) {
      expect(() => mutation.apply(params as never, context)).toThrow(said);
    }
    expect(mutation.propose(contextOf(analysis, { ignore: () => true }), createRng('none'))).toBeUndefined();
  });
});

/** What a chain of plain convolutions without activations gives at one pixel far from the border, as one window. */
test('a segment that can do the whole map does: k x k of full width and 1 x 1; 1 x 1, windows of its own each, 1 x 1', () => {
  const [channels, outputs, size] = [3, 4, 3];
  const rng = createRng('map');
  const columns = channels * size * size;
  const weights = Float64Array.from({ length: outputs * columns }, () => rng.normal());
  const mean = new Float64Array(outputs);
  const map: LinearMap = { outputs, channels, size, weights, mean };
  const ends = { cin: channels, cout: outputs };
  const conv = (k: number, width: readonly ['in' | 'out', number], op: 'Conv' | 'Depthwise' = 'Conv'): SegmentNode => ({
    op,
    from: [0],
    kernel: [k, k],
    width,
    bias: true,
  });
  const sequence = (...nodes: readonly SegmentNode[]): readonly SegmentNode[] =>
    nodes.map((n, i) => ({ ...n, from: [i - 1] }));
  for (const nodes of [
    sequence(conv(3, ['out', 1]), conv(1, ['out', 1])),
    sequence(conv(1, ['in', 1]), conv(3, ['out', 1]), conv(1, ['out', 1])),
    sequence(conv(1, ['in', 9]), conv(3, ['in', 9], 'Depthwise'), conv(1, ['out', 1])),
    sequence(conv(3, ['out', 1])),
  ]) {
    const plan = planSegment({ nodes, stride: 1 }, ends)!;
    const made = segmentWeights(plan, map);
    // [outputs so far, channels, 3 x 3]: the windows of all layers composed
    let now: Float64Array | undefined;
    plan.forEach((p, i) => {
      const { weights: w } = made[i]!;
      const k = p.node.kernel![0];
      const group = p.node.op === 'Depthwise' ? p.cin : 1;
      const next = new Float64Array(p.cout * columns);
      const wide = (o: number, c: number, t: number): number => {
        const value = w[(o * (p.cin / group) + c) * k * k + t]!;
        return value;
      };
      for (let o = 0; o < p.cout; o++) {
        for (let c = 0; c < p.cin / group; c++) {
          const from = group === 1 ? c : o;
          for (let t = 0; t < k * k; t++) {
            for (let x = 0; x < channels; x++) {
              if (now === undefined) {
                if (from === x) next[(o * channels + x) * 9 + (k === 1 ? 4 : t)]! += wide(o, c, t);
              } else if (k === 1) {
                for (let s = 0; s < 9; s++)
                  next[(o * channels + x) * 9 + s]! += wide(o, c, t) * now[(from * channels + x) * 9 + s]!;
              } else next[(o * channels + x) * 9 + t]! += wide(o, c, t) * now[(from * channels + x) * 9 + 4]!;
            }
          }
        }
      }
      now = next;
    });
    now!.forEach((v, i) => expect(v).toBeCloseTo(weights[i]!, 8));
  }
});
