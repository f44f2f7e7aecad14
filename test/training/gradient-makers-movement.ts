// Makers of the cases of operators that move values: cutting, padding, joining, gathering, scattering, resizing.
import type { CaseInput } from './gradient-law.js';
import { anyDims, dims, flag, someAxes, total, upTo, type CaseMaker, type Draw } from './gradient-makers.js';

export const slice: CaseMaker = (d) => {
  const shape = dims(d, d.int(1, 3), 2, 6);
  const axes = someAxes(d, shape.length);
  const steps = axes.map(() => d.pick([1, 1, 2, 3, -1, -2]));
  const length = (axis: number): number => shape[axis < 0 ? axis + shape.length : axis]!;
  const starts = axes.map((a, k) =>
    steps[k]! > 0 ? d.int(0, length(a) - 1) : d.pick([-1, length(a) - 1, length(a) + 3]),
  );
  const ends = axes.map((a, k) =>
    steps[k]! > 0 ? d.pick([length(a), 2 ** 31 - 1]) : d.pick([-(2 ** 31), -length(a) - 1, 0 - length(a)]),
  );
  return {
    opType: 'Slice',
    inputs: [{ dims: shape }, { ints: starts }, { ints: ends }, { ints: axes }, { ints: steps }],
  };
};

export const pad: CaseMaker = (d) => {
  const shape = dims(d, d.int(1, 3), 3, 5);
  const mode = d.pick(['constant', 'constant', 'reflect', 'edge']);
  const pads = [...shape, ...shape].map(() => (mode === 'constant' ? d.int(-1, 2) : d.int(0, 2)));
  const value: CaseInput[] = mode === 'constant' && flag(d) ? [{ dims: [] }] : [];
  return { opType: 'Pad', inputs: [{ dims: shape }, { ints: pads }, ...value], attributes: { mode } };
};

export const concat: CaseMaker = (d) => {
  const shape = anyDims(d);
  const axis = d.int(0, shape.length - 1);
  const inputs = upTo(d.int(1, 3)).map(() => ({ dims: shape.with(axis, d.int(1, 3)) }));
  return { opType: 'Concat', inputs, attributes: { axis: flag(d) ? axis : axis - shape.length } };
};

export const split: CaseMaker = (d) => {
  const shape = anyDims(d);
  const axis = d.int(0, shape.length - 1);
  const sizes = dims(d, d.int(1, 3));
  const whole = shape.with(
    axis,
    sizes.reduce((a, b) => a + b, 0),
  );
  return { opType: 'Split', inputs: [{ dims: whole }, { ints: sizes }], attributes: { axis }, outputs: sizes.length };
};

/** Positions, some counted from the end. */
const positions = (d: Draw, count: number, length: number): number[] =>
  upTo(count).map(() => d.int(flag(d) ? -length : 0, length - 1));

export const gather: CaseMaker = (d) => {
  const shape = dims(d, d.int(1, 3), 2, 4);
  const axis = d.int(0, shape.length - 1);
  const at = dims(d, d.int(0, 2), 1, 3);
  return {
    opType: 'Gather',
    inputs: [{ dims: shape }, { ints: positions(d, total(at), shape[axis]!), dims: at }],
    attributes: { axis },
  };
};

export const gatherElements: CaseMaker = (d) => {
  const shape = dims(d, d.int(1, 3), 2, 4);
  const axis = d.int(0, shape.length - 1);
  const at = shape.map((n) => d.int(1, n));
  return {
    opType: 'GatherElements',
    inputs: [{ dims: shape }, { ints: positions(d, total(at), shape[axis]!), dims: at }],
    attributes: { axis },
  };
};

export const gatherNd: CaseMaker = (d) => {
  const shape = dims(d, 3, 2, 3);
  const batchDims = d.int(0, 1);
  const depth = d.int(1, 3 - batchDims);
  const each = d.int(1, 3);
  const outer = [...shape.slice(0, batchDims), each];
  const tuples = upTo(total(outer)).flatMap(() => upTo(depth).flatMap((k) => positions(d, 1, shape[batchDims + k]!)));
  return {
    opType: 'GatherND',
    inputs: [{ dims: shape }, { ints: tuples, dims: [...outer, depth] }],
    attributes: { batch_dims: batchDims },
  };
};

export const scatterElements: CaseMaker = (d) => {
  const reduction = d.pick(['none', 'add']);
  const rows = d.int(2, 4);
  const shape = [rows, 3];
  // without addition every place is written once
  const at = reduction === 'add' ? positions(d, 2 * 3, rows) : [0, 1, 0, rows - 1, 0, 1];
  return {
    opType: 'ScatterElements',
    opset: 18,
    inputs: [{ dims: shape }, { ints: at, dims: [2, 3] }, { dims: [2, 3] }],
    attributes: { axis: 0, reduction },
  };
};

export const scatterNd: CaseMaker = (d) => {
  const reduction = d.pick(['none', 'add']);
  const at = reduction === 'add' ? positions(d, 3, 4) : [2, 0, 3];
  return {
    opType: 'ScatterND',
    opset: 18,
    inputs: [{ dims: [4, 2] }, { ints: at, dims: [3, 1] }, { dims: [3, 2] }],
    attributes: { reduction },
  };
};

export const resize: CaseMaker = (d) => {
  const rank = d.int(1, 2);
  const spatial = dims(d, rank, 2, 5);
  const mode = d.pick(['nearest', 'nearest', 'linear', ...(rank === 2 ? ['cubic'] : [])]);
  const sizes = spatial.map((n) => (flag(d) ? n * 2 : d.int(1, 8)));
  const coordinates = d.pick(['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel']);
  const shape = [1, 2, ...spatial];
  return {
    opType: 'Resize',
    inputs: [{ dims: shape }, undefined, undefined, { ints: [1, 2, ...sizes] }],
    attributes: {
      mode,
      coordinate_transformation_mode: coordinates,
      nearest_mode:
        mode === 'nearest' ? d.pick(['floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil']) : undefined,
    },
  };
};
