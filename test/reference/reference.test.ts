// The reference interpreter itself: every one of ONNX's operator cases that its kernels cover, within float32's precision.

import { expect, it } from 'vitest';
import { DataType, readNumbers } from '../../src/ir/tensor.js';
import { conformanceCases, type ConformanceCase } from '../conformance.js';
import { describeShared } from '../shared.js';
import { fromTensor, interpret, kernels } from './interpreter.js';
import type { Ref } from './arrays.js';

// float64 by numbers: halves, strings and 8-bit floats have other roundings
const types: ReadonlySet<number> = new Set([
  DataType.FLOAT,
  DataType.DOUBLE,
  DataType.INT32,
  DataType.INT64,
  DataType.BOOL,
]);

/**
 * Options that no gradient graph uses and the reference therefore lacks, by the names of their cases; and align_corners with
 * scales, where onnxruntime counts whole positions and ONNX does not.
 */
const lacking =
  /antialias|crop_and_resize|tf_half_pixel|half_pixel_symmetric|not_larger|not_smaller|axes_tensor|_str|optional|with_batchwise|dropout|clip_min_greater|_past|present|with_qk|expanded|float16|sequence|training_dropout|_verbose|storage_order|int8|uint8|with_mean|fullymasked|local_window|_nonpad|padded_kv|bidirectional_window|div_int32|identity_opt|max_empty_set_bool|downsample_scales_\w+_align_corners/;

describeShared('the reference interpreter', ['onnx-node-tests.tar.xz'], () => {
  it('agrees with every case of ONNX that its kernels cover', () => {
    const wrong: string[] = [];
    let right = 0;
    const covered = new Set<string>();
    for (const c of conformanceCases()) {
      if (!c.name.startsWith('node/') || lacking.test(c.name)) continue;
      const model = c.model();
      const { nodes } = model.graph;
      if (!nodes.every((n) => n.domain === '' && kernels.has(n.opType))) continue;
      const problem = difference(c);
      if (problem === undefined) {
        right++;
        for (const n of nodes) covered.add(n.opType);
      } else if (problem !== 'skipped') wrong.push(`${c.name}: ${problem}`);
    }
    expect(wrong).toEqual([]);
    expect(right).toBeGreaterThan(400);
    // every kernel has met a case; Dropout is the identity here, and ONNX has no case of GlobalLpPool
    expect([...kernels.keys()].filter((k) => !covered.has(k))).toEqual(['Dropout', 'GlobalLpPool']);
  });
});

function difference(c: ConformanceCase): string | undefined {
  const model = c.model();
  const set = c.sets[0]!;
  const feeds = new Map<string, Ref>();
  for (const [name, value] of set.inputs()) {
    if (value.kind !== 'tensor' || !types.has(value.tensor.dataType)) return 'skipped';
    feeds.set(name, fromTensor(value.tensor));
  }
  try {
    const values = interpret(model.graph, model.opsets.get('') ?? 1, feeds);
    for (const [name, value] of set.outputs()) {
      if (value.kind !== 'tensor' || !types.has(value.tensor.dataType)) return 'skipped';
      const ours = values.get(name)!;
      const expected = readNumbers(value.tensor);
      if (ours.dims.join() !== value.tensor.dims.join())
        return `dims ${ours.dims.join()} for ${value.tensor.dims.join()}`;
      const worst = Math.max(0, ...ours.data.map((v, i) => apart(v, expected[i]!)));
      if (worst > 1e-4) return `off by ${worst}`;
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function apart(a: number, b: number): number {
  if (Object.is(a, b) || a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0;
  return Math.abs(a - b) / Math.max(1, Math.abs(b));
}
