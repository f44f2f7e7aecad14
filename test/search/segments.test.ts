// Segments: byte-pair merging on graphs whose segments are known, and the shipped library in onnxruntime.
import { describe, expect, test } from 'vitest';
import { countCost } from '../../src/analysis/cost.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { graphBuilder, type GraphBuilder } from '../../src/ir/builder.js';
import { DataType } from '../../src/ir/tensor.js';
import { standardOps } from '../../src/ops/index.js';
import { compress } from '../../src/predictor/compress.js';
import type { ComputationGraph } from '../../src/predictor/computation-graph.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { withSession } from '../../src/runtime/runtime.js';
import { fittingSegments, segmentLibrary } from '../../search/segments/library.js';
import { mineSegments } from '../../search/segments/mine.js';
import { emitSegment, planSegment, segmentMacs, type Segment } from '../../search/segments/segment.js';
import { fillRandom } from '../analysis/random-weights.js';

const options = { merges: 50, largest: 8, networks: 1 };

/** `blocks` residual blocks: Conv 3x3 of twice the width, ReLU, Conv 1x1, Add. */
function residual(blocks: number, width: number): ComputationGraph {
  const g = graphBuilder();
  const conv = (x: string, c: number, to: number, k: number): string => {
    const weight = g.constant({ name: 'w', dataType: DataType.FLOAT, dims: [to, c, k, k] });
    return g.op('Conv', [x, weight], { pads: [k >> 1, k >> 1, k >> 1, k >> 1] });
  };
  let x = conv(g.input('x', DataType.FLOAT, [1, 3, 8, 8]), 3, width, 1);
  for (let i = 0; i < blocks; i++) {
    x = g.op('Add', [conv(g.op('Relu', [conv(x, width, 2 * width, 3)]), 2 * width, width, 1), x]);
  }
  g.output(x);
  return compress(g.model(), { extras: true });
}

describe('mining', () => {
  test('a block that repeats is found whole, at any width', () => {
    const found = mineSegments([residual(3, 8), residual(4, 20)], options);
    const block = found.find((s) => s.nodes.some((n) => n.op === 'Add') && s.nodes.length === 4);
    expect(block).toEqual({
      nodes: [
        { op: 'Conv', from: [-1], kernel: [3, 3], width: ['in', 2] },
        { op: 'ReLU', from: [0] },
        { op: 'Conv', from: [1], kernel: [1, 1], width: ['out', 1] },
        { op: 'Add', from: [2, -1] },
      ],
      stride: 1,
      keepsChannels: false,
      count: 7,
      networks: 2,
    });
    expect(segmentMacs(block!, { cin: 10, cout: 10 }, 4, 6)).toBe(24 * (10 * 20 * 9 + 20 * 10));
    expect(planSegment(block!, { cin: 10, cout: 12 })).toBeUndefined();
  });

  test('what feeds two places is no part of a segment; the same graphs, the same segments', () => {
    const graphs = [residual(2, 8), residual(3, 12)];
    const found = mineSegments(graphs, options);
    // the stem feeds a block's convolution and its sum
    for (const s of found)
      expect(s.nodes.filter((n) => n.op === 'Add').length).toBeLessThanOrEqual(1 + s.nodes.length / 4);
    expect(mineSegments(graphs, options)).toEqual(found);
    expect(mineSegments(graphs, { ...options, networks: 3 })).toEqual([]);
  });
});

describe('the library', () => {
  const library = segmentLibrary();

  test('holds segments of many kinds', () => {
    expect(library.length).toBeGreaterThan(200);
    const has = (test: (s: Segment) => boolean): boolean => library.some(test);
    expect(has((s) => s.nodes.some((n) => n.op === 'Depthwise') && s.nodes.some((n) => n.op === 'Add'))).toBe(true);
    expect(has((s) => s.nodes.some((n) => n.op === 'Mul') && s.nodes.some((n) => n.op === 'Mean'))).toBe(true);
    expect(has((s) => s.stride === 2)).toBe(true);
    expect(has((s) => s.nodes.some((n) => (n.groups ?? 1) > 1))).toBe(true);
  });

  test('what fits costs no more than asked and keeps its promise in onnxruntime', async () => {
    const place = { cin: 64, cout: 64, h: 16, w: 12, macs: 64 * 64 * 9 * 192 };
    for (const stride of [1, 2]) {
      const fitting = fittingSegments(library, { ...place, stride });
      expect(fitting.length).toBeGreaterThan(5);
      // every seventh: large and small, frequent and rare
      for (const { segment, macs } of fitting.filter((_, i) => i % 7 === 0)) {
        expect(macs).toBeLessThanOrEqual(place.macs);
        const g: GraphBuilder = graphBuilder();
        const x = g.input('x', DataType.FLOAT, [1, 64, 16, 12]);
        g.output(emitSegment(g, segment, x, place));
        const model = fillRandom(g.model(), createRng(1));
        expect(countCost(model, standardOps, inferShapes(model, standardOps)).macs).toBe(macs);
        const data = new Float32Array(64 * 16 * 12).fill(0.5);
        const dims = await withSession(ortRuntime(), model, {}, async (session) => {
          const result = await session.run(new Map([['x', { dataType: 1, dims: [1, 64, 16, 12], data }]]));
          return [...result.values()][0]!.dims;
        });
        expect(dims).toEqual([1, 64, 16 / stride, 12 / stride]);
      }
    }
  });
});
