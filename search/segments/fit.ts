// First weights of a segment that takes the place of a convolution: the linear map of the convolution is followed through the segment,
// each layer taking what matters most of it (leading eigenvectors of its outputs, or of its inputs), the last one the rest. Inner
// activations are kept where they let things pass, by biases. Least squares on activations then refits the last layer.
import { leadingEigen, symmetricEigen } from '../../src/recovery/eigen.js';
import { createRng, type Rng } from '../../src/rng.js';
import type { PlannedNode } from './segment.js';

/** y = W u + b with u the windows of the input: [outputs, channels, size x size] around their centre, size odd. */
export interface LinearMap {
  readonly outputs: number;
  readonly channels: number;
  readonly size: number;
  readonly weights: Float64Array;
  /** Mean of y. */
  readonly mean: Float64Array;
  /** Covariance and mean of u in the order of the columns, where they are known. */
  readonly covariance?: (row: Float64Array) => { readonly mean: number; readonly variance: number };
}

/** Weights [out, in / groups, k, k] and bias [out] of one convolution of the segment. */
export interface ConvWeights {
  readonly weights: Float64Array;
  readonly bias: Float64Array;
}

/** What an inner activation is fed on average, in standard deviations: far enough above zero to let things pass. */
const LIFT = 3;

/** One entry for each Conv or Depthwise of the plan, in its order. Each node follows the one before it. */
export function segmentWeights(plan: readonly PlannedNode[], map: LinearMap): readonly ConvWeights[] {
  const rng = createRng('segment');
  const convs = plan.filter((p) => p.node.op === 'Conv' || p.node.op === 'Depthwise');
  let rest: Rest = { ...map, weights: map.weights, lift: 0, copies: map.channels };
  const made: ConvWeights[] = [];
  for (const planned of plan) {
    const at = convs.indexOf(planned);
    if (at < 0) {
      if (planned.node.op === 'Avgpool' || planned.node.op === 'Maxpool') rest = gathered(rest);
      continue;
    }
    const last = at === convs.length - 1;
    const next = plan[plan.indexOf(planned) + 1]?.node.op;
    const active = !last && next !== undefined && next !== 'Depthwise' && next !== 'Conv';
    const behind = convs[at + 1]?.node.op === 'Depthwise';
    const step = last
      ? { rows: finalRows(planned, rest), rest }
      : planned.node.op === 'Depthwise'
        ? depthwise(planned, rest)
        : inner(planned, rest, behind, rng);
    const scaled = scale(planned, step, rest, map, active, at === 0);
    made.push(last ? { weights: step.rows, bias: finalBias(planned, step.rows, rest, map) } : scaled.layer);
    rest = scaled.rest;
  }
  return made;
}

/** What is left to do: from the channels at hand to the outputs. */
interface Rest {
  readonly outputs: number;
  readonly channels: number;
  readonly size: number;
  /** [outputs, channels, size x size] */
  readonly weights: Float64Array;
  /** Mean of the channels at hand. */
  readonly lift: number;
  /** Channels i, i + copies, i + 2 copies ... are the same. */
  readonly copies: number;
}

interface Step {
  /** [out, in / groups, k x k] */
  readonly rows: Float64Array;
  readonly rest: Rest;
}

function kernelOf({ node }: PlannedNode): number {
  return Math.max(...(node.kernel ?? [1, 1]));
}

/** The middle of a window, or the window in the middle of a larger one. */
function resized({ weights, size }: Pick<Rest, 'weights' | 'size'>, k: number): Float64Array {
  if (k === size) return weights;
  const n = weights.length / (size * size);
  const out = new Float64Array(n * k * k);
  const shift = ((size - 1) >> 1) - ((k - 1) >> 1);
  for (let i = 0; i < n; i++) {
    for (let y = 0; y < k; y++) {
      for (let x = 0; x < k; x++) {
        const [sy, sx] = [y + shift, x + shift];
        if (sy >= 0 && sy < size && sx >= 0 && sx < size)
          out[(i * k + y) * k + x] = weights[(i * size + sy) * size + sx]!;
      }
    }
  }
  return out;
}

/** Windows summed up: what is left when neighbours look alike. */
function gathered(rest: Rest): Rest {
  const { outputs, channels, size, weights } = rest;
  const taps = size * size;
  const sums = Float64Array.from({ length: outputs * channels }, (_, i) =>
    weights.subarray(i * taps, (i + 1) * taps).reduce((a, b) => a + b, 0),
  );
  return { ...rest, size: 1, weights: sums };
}

function finalRows(planned: PlannedNode, rest: Rest): Float64Array {
  const k = kernelOf(planned);
  const whole = k < rest.size && k === 1 ? gathered(rest).weights : resized(rest, k);
  return withinGroups(whole, planned, k * k);
}

/** The columns of the own group of each output. */
function withinGroups(rows: Float64Array, { node, cin, cout }: PlannedNode, taps: number): Float64Array {
  const groups = node.op === 'Depthwise' ? cin : (node.groups ?? 1);
  if (groups === 1) return rows;
  const [own, each] = [cin / groups, cout / groups];
  const out = new Float64Array(cout * own * taps);
  for (let o = 0; o < cout; o++) {
    const from = (o * cin + Math.floor(o / each) * own) * taps;
    out.set(rows.subarray(from, from + own * taps), o * own * taps);
  }
  return out;
}

function inner(planned: PlannedNode, rest: Rest, beforeDepthwise: boolean, rng: Rng): Step {
  const { cin, cout } = planned;
  const k = kernelOf(planned);
  const { outputs, size, weights } = rest;
  const taps = size * size;
  if (k === 1 && size > 1) {
    // windows come later: channels are mixed
    const rows = new Float64Array(cout * cin);
    if (beforeDepthwise && cout >= cin) {
      for (let i = 0; i < cout; i++) rows[i * cin + (i % cin)] = 1;
      const left = new Float64Array(outputs * cout * taps);
      for (let o = 0; o < outputs; o++)
        left.set(weights.subarray(o * cin * taps, (o + 1) * cin * taps), o * cout * taps);
      return { rows: withinGroups(rows, planned, 1), rest: { ...rest, channels: cout, weights: left, copies: cin } };
    }
    const energy = new Float64Array(cin * cin);
    for (let o = 0; o < outputs; o++) {
      for (let a = 0; a < cin; a++) {
        for (let b = 0; b <= a; b++) {
          let sum = 0;
          for (let t = 0; t < taps; t++) sum += weights[(o * cin + a) * taps + t]! * weights[(o * cin + b) * taps + t]!;
          energy[a * cin + b]! += sum;
          if (b < a) energy[b * cin + a]! += sum;
        }
      }
    }
    const count = Math.min(cout, cin);
    rows.set(leadingEigen(energy, cin, count).vectors);
    for (let i = count * cin; i < rows.length; i++) rows[i] = rng.normal();
    const left = new Float64Array(outputs * cout * taps);
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < count; i++) {
        for (let t = 0; t < taps; t++) {
          let sum = 0;
          for (let c = 0; c < cin; c++) sum += weights[(o * cin + c) * taps + t]! * rows[i * cin + c]!;
          left[(o * cout + i) * taps + t] = sum;
        }
      }
    }
    return { rows: withinGroups(rows, planned, 1), rest: { ...rest, channels: cout, weights: left, copies: cout } };
  }
  // the window itself: the leading directions of the outputs
  const own = resized(rest, k);
  const columns = cin * k * k;
  const energy = new Float64Array(outputs * outputs);
  for (let a = 0; a < outputs; a++) {
    for (let b = 0; b <= a; b++) {
      let sum = 0;
      for (let j = 0; j < columns; j++) sum += own[a * columns + j]! * own[b * columns + j]!;
      energy[a * outputs + b] = sum;
      energy[b * outputs + a] = sum;
    }
  }
  const count = Math.min(cout, outputs);
  const { vectors } = leadingEigen(energy, outputs, count);
  const rows = Float64Array.from({ length: cout * columns }, () => 0.1 * rng.normal());
  const left = new Float64Array(outputs * cout);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let o = 0; o < outputs; o++) sum += vectors[i * outputs + o]! * own[o * columns + j]!;
      rows[i * columns + j] = sum;
    }
    for (let o = 0; o < outputs; o++) left[o * cout + i] = vectors[i * outputs + o]!;
  }
  const mixed: Rest = { ...rest, channels: cout, size: 1, weights: left, copies: cout };
  return { rows: withinGroups(rows, planned, k * k), rest: mixed };
}

/** Of each channel the window that says most of it; of its copies the next ones. */
function depthwise(planned: PlannedNode, rest: Rest): Step {
  const { cin } = planned;
  const { outputs, channels, copies } = rest;
  const k = kernelOf(planned);
  const taps = k * k;
  const own = resized(rest, k);
  const rows = new Float64Array(cin * taps);
  const left = new Float64Array(outputs * cin);
  for (let c = 0; c < Math.min(copies, channels); c++) {
    const energy = new Float64Array(taps * taps);
    for (let o = 0; o < outputs; o++) {
      for (let a = 0; a < taps; a++) {
        for (let b = 0; b < taps; b++)
          energy[a * taps + b]! += own[(o * channels + c) * taps + a]! * own[(o * channels + c) * taps + b]!;
      }
    }
    const { vectors } = symmetricEigen(energy, taps);
    for (let i = c, rank = 0; i < cin; i += copies, rank++) {
      const row = vectors.subarray((rank % taps) * taps, ((rank % taps) + 1) * taps);
      rows.set(row, i * taps);
      if (rank >= taps) continue;
      for (let o = 0; o < outputs; o++) {
        let sum = 0;
        for (let t = 0; t < taps; t++) sum += own[(o * channels + c) * taps + t]! * row[t]!;
        left[o * cin + i] = sum;
      }
    }
  }
  return { rows, rest: { ...rest, channels: cin, size: 1, weights: left, copies: cin } };
}

/** Each channel gets variance 1, about, and before an activation the mean `LIFT`; what follows makes up for it. */
function scale(
  { cin, cout, node }: PlannedNode,
  { rows, rest: left }: Step,
  before: Rest,
  map: LinearMap,
  active: boolean,
  first: boolean,
): { readonly layer: ConvWeights; readonly rest: Rest } {
  const each = rows.length / cout;
  const weights = Float64Array.from(rows);
  const bias = new Float64Array(cout);
  const rest = Float64Array.from(left.weights);
  const taps = left.size * left.size;
  const known = first && map.covariance !== undefined && (node.groups ?? 1) === 1 && node.op === 'Conv';
  for (let i = 0; i < cout; i++) {
    const row = rows.subarray(i * each, (i + 1) * each);
    const wide = known ? resized({ weights: row, size: Math.sqrt(each / cin) }, map.size) : row;
    const seen = known ? map.covariance(wide) : undefined;
    const mean = seen?.mean ?? before.lift * row.reduce((a, b) => a + b, 0);
    const variance = seen?.variance ?? row.reduce((a, b) => a + b * b, 0);
    const deviation = Math.sqrt(variance) || 1;
    for (let j = 0; j < each; j++) weights[i * each + j] = row[j]! / deviation;
    bias[i] = (active ? LIFT : 0) - mean / deviation;
    for (let o = 0; o < left.outputs; o++) {
      for (let t = 0; t < taps; t++) rest[(o * left.channels + i) * taps + t]! *= deviation;
    }
  }
  return { layer: { weights, bias }, rest: { ...left, weights: rest, lift: active ? LIFT : 0 } };
}

/** So that the outputs keep their means. */
function finalBias({ cout }: PlannedNode, rows: Float64Array, rest: Rest, map: LinearMap): Float64Array {
  const each = rows.length / cout;
  return Float64Array.from({ length: cout }, (_, o) => {
    const sum = rows.subarray(o * each, (o + 1) * each).reduce((a, b) => a + b, 0);
    return (map.mean[o] ?? 0) - rest.lift * sum;
  });
}
