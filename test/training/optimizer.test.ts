// Losses, optimizers and schedules against values computed by hand (in doubles, step by step) on one small graph.
import { expect, test } from 'vitest';
import type { Graph, Model } from '../../src/ir/graph.js';
import { DataType } from '../../src/ir/tensor.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { floatData, floatsOf, withSession } from '../../src/runtime/runtime.js';
import { createEmitter, type Emitter } from '../../src/training/emitter.js';
import { emitLoss, type Loss } from '../../src/training/loss.js';
import {
  averageDecay,
  emitAverage,
  emitClipped,
  emitUpdate,
  slotsOf,
  stepScalars,
  type Optimizer,
} from '../../src/training/optimizer.js';
import { cosine, oneCycle, scheduleOf, warmUp } from '../../src/training/schedule.js';

interface Given {
  readonly dims: readonly number[];
  readonly data: readonly number[];
}

/** Runs the emitted nodes on the values given by name. */
async function run(
  given: Readonly<Record<string, Given>>,
  emit: (m: Emitter) => readonly string[],
): Promise<readonly (readonly number[])[]> {
  const inputs = Object.entries(given).map(([name, { dims }]) => ({
    name,
    type: { kind: 'tensor' as const, elemType: DataType.FLOAT, shape: dims },
  }));
  const empty: Graph = {
    name: 'g',
    nodes: [],
    initializers: new Map(),
    sparseInitializers: new Map(),
    inputs,
    outputs: [],
    valueInfo: new Map(),
  };
  const m = createEmitter(empty);
  const names = emit(m);
  const outputs = names.map((name) => ({
    name,
    type: { kind: 'tensor' as const, elemType: DataType.FLOAT },
  }));
  const model: Model = {
    irVersion: 8,
    opsets: new Map([['', 17]]),
    producerName: 'test',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph: { ...m.extended(empty), outputs },
  };
  return withSession(ortRuntime(), model, {}, async (session) => {
    const feeds = new Map(
      Object.entries(given).map(([name, v]) => [name, floatData(v.dims, Float32Array.from(v.data))]),
    );
    const results = await session.run(feeds);
    return names.map((name) => [...floatsOf(results.get(name)!)]);
  });
}

const z = { dims: [2, 2], data: [1, 3, 0, -2] };

test.each<[Loss, readonly number[], number]>([
  // rows: log(1 + e^-2) and log(1 + e^-2) below the right classes 1 and 0
  [{ kind: 'cross-entropy' }, [0, 1, 1, 0], Math.log(1 + Math.exp(-2))],
  // 5 % on the wrong class, which is 2 worse
  [{ kind: 'cross-entropy', smoothing: 0.1 }, [0, 1, 1, 0], Math.log(1 + Math.exp(-2)) + 0.05 * 2],
  [{ kind: 'mse' }, [0, 3, 2, -2.5], (1 + 0 + 4 + 0.25) / 4],
  [{ kind: 'huber' }, [0, 3, 2, -2.5], (0.5 + 0 + 1.5 + 0.125) / 4],
  [{ kind: 'huber', delta: 0.5 }, [0, 3, 2, -2.5], (0.375 + 0 + 0.875 + 0.125) / 4],
  // relative to (0 + 9 + 4 + 6.25) / 4
  [{ kind: 'mse', relative: true }, [0, 3, 2, -2.5], (1 + 0 + 4 + 0.25) / 19.25],
  // teacher: equal logits; at temperature 2 the differences are 1: log((1 + e)/2) - 1/2, times 4
  [{ kind: 'distill', temperature: 2 }, [0, 0, 5, 5], 4 * (Math.log((1 + Math.E) / 2) - 0.5)],
])('%o', async (loss, target, expected) => {
  const given = { z, t: { dims: [2, 2], data: target } };
  const [[value] = []] = await run(given, (m) => [emitLoss(m, loss, 'z', 't', [2, 2])]);
  expect(value).toBeCloseTo(expected, 5);
});

test.each<[readonly number[], number]>([
  // pairs 3 > 1, 3 > 0, 1 > 0 in the targets' order: scores 1, 3, 0 lack 3, 0 (1 - 1) and 0
  [[3, 1, 0], (3 + 0 + 0) / 3],
  // the same way round as the scores, by at least the margin: nothing lacks
  [[1, 2, 0], 0],
  // ties order nothing
  [[1, 1, 1], 0],
])('hinge of scores 1, 3, 0 against %j', async (target, expected) => {
  const given = { z: { dims: [3, 1], data: [1, 3, 0] }, t: { dims: [3, 1], data: target } };
  const [[value] = []] = await run(given, (m) => [emitLoss(m, { kind: 'hinge' }, 'z', 't', [3, 1])]);
  expect(value).toBeCloseTo(expected, 6);
});

/** Three steps from w = 1 with gradients 0.5, -0.2, 0.1 at rate 0.1, decay 0.01. */
function byHand(optimizer: Optimizer): number[] {
  let [w, v, m1, m2] = [1, 0, 0, 0];
  return [0.5, -0.2, 0.1].map((gradient, step) => {
    const beside = optimizer.kind === 'adamw' || (optimizer.kind === 'sgd' && optimizer.decoupled === true);
    const g = beside ? gradient : gradient + 0.01 * w;
    const kept = beside ? w - 0.1 * 0.01 * w : w;
    if (optimizer.kind === 'sgd') {
      v = 0.9 * v + g;
      w = kept - 0.1 * (g + 0.9 * v);
    } else {
      m1 = 0.9 * m1 + 0.1 * g;
      m2 = 0.999 * m2 + 0.001 * g * g;
      w = kept - (0.1 * m1) / (1 - 0.9 ** (step + 1)) / (Math.sqrt(m2 / (1 - 0.999 ** (step + 1))) + 1e-8);
    }
    return w;
  });
}

test.each<Optimizer>([
  { kind: 'sgd', momentum: 0.9, decay: 0.01 },
  { kind: 'sgd', momentum: 0.9, decay: 0.01, decoupled: true },
  { kind: 'adam', decay: 0.01 },
  { kind: 'adamw', decay: 0.01 },
])('three steps of %o', async (optimizer) => {
  let state = [1, ...slotsOf(optimizer).map(() => 0)];
  const seen: number[] = [];
  for (const [step, gradient] of [0.5, -0.2, 0.1].entries()) {
    const one = (x: number): Given => ({ dims: [1], data: [x] });
    const given = {
      w: one(state[0]!),
      g: one(gradient),
      ...Object.fromEntries(slotsOf(optimizer).map((slot, i) => [`${slot}/w`, one(state[i + 1]!)])),
      ...Object.fromEntries([...stepScalars(optimizer, step, 0.1)].map(([k, x]) => [k, { dims: [], data: [x] }])),
    };
    const next = await run(given, (m) => {
      const { weight, slots } = emitUpdate(m, optimizer, 'w', 'g');
      return [weight, ...slots];
    });
    state = next.map((list) => list[0]!);
    seen.push(state[0]!);
  }
  const expected = byHand(optimizer);
  seen.forEach((w, i) => expect(w).toBeCloseTo(expected[i]!, 5));
});

test('clipping by the common norm leaves short gradients alone', async () => {
  const given = { a: { dims: [2], data: [3, 0] }, b: { dims: [], data: [4] } };
  for (const [limit, factor] of [
    [1, 0.2],
    [10, 1],
  ] as const) {
    const [norm, a, b] = await run(given, (m) => {
      const clipped = emitClipped(m, ['a', 'b'], limit);
      // a gradient that is left alone is scaled by exactly 1
      return [clipped.norm, ...clipped.gradients];
    });
    expect(norm![0]).toBeCloseTo(5, 5);
    expect(a![0]).toBeCloseTo(3 * factor, 5);
    expect(b![0]).toBeCloseTo(4 * factor, 5);
  }
});

test('moving average', async () => {
  const one = (x: number, dims: number[] = [1]): Given => ({ dims, data: [x] });
  const [[next] = []] = await run({ e: one(1), w: one(3), 'ema-decay': one(0.75, []) }, (m) => [
    emitAverage(m, 'e', 'w'),
  ]);
  expect(next).toBeCloseTo(1.5, 6);
  expect(averageDecay(0.99, 0)).toBe(0.1);
  expect(averageDecay(0.99, 10_000)).toBe(0.99);
});

test('schedules', () => {
  expect([0, 0.5, 1].map(cosine).map((x) => x.toFixed(6))).toEqual(['1.000000', '0.500000', '0.000000']);
  expect([0, 1 / 3, 2 / 3, 1].map(oneCycle).map((x) => x.toFixed(6))).toEqual([
    '0.040000',
    '1.000000',
    '0.500000',
    '0.000000',
  ]);
  expect([0, 0.05, 0.1, 0.55, 1].map(warmUp(0.1, cosine)).map((x) => x.toFixed(6))).toEqual([
    '0.000000',
    '0.500000',
    '1.000000',
    '0.500000',
    '0.000000',
  ]);
  expect(scheduleOf('constant')(0.7)).toBe(1);
});
