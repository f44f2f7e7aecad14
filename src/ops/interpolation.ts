// Interpolation along one axis as a matrix: which input positions an output position of Resize is made of.
// https://onnx.ai/onnx/operators/onnx__Resize.html
export interface Interpolation {
  readonly mode: string;
  /** coordinate_transformation_mode, tf_crop_and_resize excepted. */
  readonly coordinates: string;
  /** nearest_mode. */
  readonly nearest: string;
  /** cubic_coeff_a. */
  readonly cubic: number;
  readonly excludeOutside: boolean;
}

/** Row o holds the weights of the `long` input positions in output position o. */
export function resizeWeights(long: number, short: number, scale: number, how: Interpolation): number[][] {
  return Array.from({ length: short }, (_, o) => {
    const row = Array.from({ length: long }, () => 0);
    const at = position(o, long, short, scale, how.coordinates);
    const add = (i: number, weight: number): void => {
      row[Math.min(Math.max(i, 0), long - 1)]! += weight;
    };
    if (how.mode === 'nearest') add(nearest(at, how.nearest), 1);
    else if (how.mode === 'linear') {
      const inside = Math.min(Math.max(at, 0), long - 1);
      const low = Math.floor(inside);
      add(low, 1 - (inside - low));
      add(low + 1, inside - low);
    } else {
      const low = Math.floor(at);
      const taps = cubicWeights(at - low, how.cubic).map((weight, t) => ({ i: low - 1 + t, weight }));
      const used = how.excludeOutside ? taps.filter(({ i }) => i >= 0 && i < long) : taps;
      const total = how.excludeOutside ? used.reduce((sum, { weight }) => sum + weight, 0) : 1;
      for (const { i, weight } of used) add(i, weight / total);
    }
    return row;
  });
}

/** Where output position o lies in the input. */
function position(o: number, long: number, short: number, scale: number, coordinates: string): number {
  switch (coordinates) {
    case 'asymmetric':
      return o / scale;
    case 'align_corners':
      return short === 1 ? 0 : (o * (long - 1)) / (short - 1);
    case 'pytorch_half_pixel':
      return short > 1 ? (o + 0.5) / scale - 0.5 : 0;
    case 'tf_half_pixel_for_nn':
      return (o + 0.5) / scale;
    case 'half_pixel_symmetric': {
      const adjustment = short / (long * scale);
      return (long / 2) * (1 - adjustment) + (o + 0.5) / scale - 0.5;
    }
    default:
      return (o + 0.5) / scale - 0.5;
  }
}

function nearest(at: number, mode: string): number {
  switch (mode) {
    case 'floor':
      return Math.floor(at);
    case 'ceil':
      return Math.ceil(at);
    case 'round_prefer_ceil':
      return Math.floor(at + 0.5);
    default:
      return Math.ceil(at - 0.5);
  }
}

/** Keys' kernel for the neighbours at -1, 0, 1 and 2. */
function cubicWeights(t: number, a: number): number[] {
  const inner = (d: number): number => ((a + 2) * d - (a + 3)) * d * d + 1;
  const outer = (d: number): number => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return [outer(t + 1), inner(t), inner(1 - t), outer(2 - t)];
}
