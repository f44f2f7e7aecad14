// Value rules against the expected outputs of ONNX's own cases: every element that we claim to know.

import { expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { PareError } from '../../src/errors.js';
import type { Tensor } from '../../src/ir/tensor.js';
import type { PartialValue } from '../../src/ops/op.js';
import { standardOps } from '../../src/ops/index.js';
import { floatsOf, runtimeTensor } from '../../src/runtime/runtime.js';
import { conformanceCases, type ConformanceCase } from '../conformance.js';
import { describeShared } from '../shared.js';

describeShared('contents of small tensors', ['onnx-node-tests.tar.xz'], () => {
  test('what value rules say is what ONNX expects', () => {
    const found = conformanceCases().flatMap(compare);
    expect(found.filter((f) => f.apart > 1e-3)).toEqual([]);
    // and they say much: the count only ever goes up
    expect(found.length).toBeGreaterThanOrEqual(894);
  });
});

/** Largest distance between known elements and expected ones, relative above 1, per output whose contents are claimed. */
function compare(c: ConformanceCase): { name: string; apart: number }[] {
  const set = c.sets[0]!;
  const tensors = new Map<string, Tensor>();
  for (const [name, v] of set.inputs()) if (v.kind === 'tensor') tensors.set(name, v.tensor);
  const values = valuesOf(c, tensors);
  return [...set.outputs()].flatMap(([name, v]) => {
    const ours = values?.get(name);
    if (v.kind !== 'tensor' || ours === undefined) return [];
    const theirs = numbersOf(v.tensor);
    if (theirs === undefined) return [];
    const apart = ours.elems.map((e, i) => (e === undefined ? 0 : distance(e, theirs[i] ?? NaN)));
    return [{ name: `${c.name}: ${name}`, apart: Math.max(0, ...apart) }];
  });
}

function valuesOf(
  c: ConformanceCase,
  tensors: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, PartialValue> | undefined {
  try {
    return inferShapes(c.model(), standardOps, { tensors }).values;
  } catch (error) {
    // contradictions are the conformance test's matter
    if (error instanceof PareError) return undefined;
    throw error;
  }
}

function numbersOf(t: Tensor): Float32Array | undefined {
  try {
    return floatsOf(runtimeTensor(t));
  } catch {
    // strings and 8-bit floats
    return undefined;
  }
}

function distance(a: number, b: number): number {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b)) || Math.fround(a) === b) return 0;
  const d = Math.abs(a - b) / Math.max(1, Math.abs(b));
  return Number.isNaN(d) ? Infinity : d;
}
